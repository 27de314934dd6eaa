"""The record of a run's data: the content digest of each image and its split.

Published datasets have no record, because their files are verified against published digests and the split follows
from the settings.
"""

import base64
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from torch import Tensor

from lenet_pl.data.split_digests import digest_split
from lenet_pl.runtime.atomic_files import write_text

FILE = "data.json"  # in the run folder
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")  # in the order in which they are recorded
Count = Annotated[int, Field(ge=0, le=2**40)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class ClassRecord(_Record):
    """The record of one class over all splits.

    Attributes:
        name: The class name.
        images: The number of images.
        digest: The digest of their contents, independent of their order.
    """

    name: str
    images: Count
    digest: str


class SplitRecord(_Record):
    """The record of one split. Checkpoints contain no names, and contents and labels of the test split only.

    Attributes:
        images: The number of images.
        digest: The digest of contents and labels, in order.
        contents: The digest of each image, as base64 of little-endian int64.
        labels: The label of each image, as base64 of little-endian uint16.
        names: The path of each image, or its row in a file of many images.
        pixels: The digest of the decoded images, or None if their pixels depend on nothing but their content.
    """

    images: Count
    digest: str
    contents: str | None = None
    labels: str | None = None
    names: list[str] | list[Count] | None = None
    pixels: str | None = None

    def rows(self) -> tuple[Tensor, Tensor] | None:
        """Return contents and labels, int64 of shape (N,) each; None if they are not recorded or corrupt."""
        if self.contents is None or self.labels is None:
            return None
        try:
            contents, labels = _unpacked(self.contents, "<i8"), _unpacked(self.labels, "<u2")
        except ValueError:
            return None
        sound = len(contents) == len(labels) == self.images and digest_split(contents, labels) == self.digest
        return (contents, labels) if sound else None


class DataRecord(_Record):
    """The record of a run's data.

    Attributes:
        version: The version of this format.
        digest: The digest of everything that reaches the network before splitting: classes, channels, contents, labels
            and order.
        channels: The number of channels, 1 for gray or 3 for color.
        classes: The record of each class, in the order of the labels.
        parts: The record of each split.
    """

    version: Literal[1] = 1
    digest: str
    channels: Literal[1, 3]
    classes: list[ClassRecord]
    parts: dict[SplitName, SplitRecord]

    @field_validator("parts")
    @classmethod
    def _check_splits(cls, parts: dict[SplitName, SplitRecord]) -> dict[SplitName, SplitRecord]:
        if set(parts) != set(SPLITS):
            raise ValueError(f"got {', '.join(parts)}; must be {', '.join(SPLITS)}")
        return parts

    @model_validator(mode="after")
    def _check_labels(self) -> "DataRecord":
        for name, split in self.parts.items():
            rows = split.rows()
            if rows and len(rows[1]) and int(rows[1].max()) >= len(self.classes):
                raise ValueError(
                    f"got a label of {int(rows[1].max())} in {name}; must be less than {len(self.classes)}, the number "
                    "of classes"
                )
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        return tuple(one.name for one in self.classes)

    def compact(self) -> dict[str, Any]:
        """Return plain JSON values for a checkpoint, without the fields that would make it large."""
        excluded = {"train": {"contents", "labels", "names"}, "validation": {"contents", "labels", "names"}}
        every: dict[str, Any] = {**excluded, "test": {"names"}}
        return self.model_dump(exclude={"parts": every}, exclude_none=True)

    def agrees(self, other: "DataRecord") -> bool:
        """Whether both records describe the same images in the same splits."""
        each = [(one.digest, *(one.parts[split].digest for split in one.parts)) for one in (self, other)]
        return each[0] == each[1]


def write_data_record(folder: Path, record: DataRecord | None) -> None:
    """Write data.json into a run folder atomically; do nothing without a record."""
    if record is None:
        return
    text = json.dumps(record.model_dump(), indent=1, ensure_ascii=False, allow_nan=False)  # one line per name
    write_text(folder / FILE, text + "\n")


def read_data_record(folder: Path) -> DataRecord | None:
    """Read data.json; None if it is missing or corrupt."""
    try:
        return DataRecord.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def _unpacked(text: str, kind: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), kind).astype(np.int64))
