"""What a run records of its data: which images there were, known by their contents, and which part each was in.

Published sets have none: their files are verified against published digests, and the split follows from the settings.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from torch import Tensor

from lenet_pl.atomic import write_text
from lenet_pl.data.image_set import ImageSet

FILE = "data.json"  # in the run folder
PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")
Count = Annotated[int, Field(ge=0, le=2**40)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class ClassRecord(_Record):
    """One class of all parts together.

    Attributes:
        name: of the class.
        images: how many it has.
        digest: of their contents, in whatever order.
    """

    name: str
    images: Count
    digest: str


class PartRecord(_Record):
    """One part; in a checkpoint the test part alone says which images these were, and none says how they were called.

    Attributes:
        images: how many there are.
        digest: of contents and labels in order.
        contents: digest of each image, int64, little-endian, in base64.
        labels: of each image, uint16 likewise.
        names: of each image; its row in the file where that holds many.
        pixels: digest of the images as they were read; None where nothing but their content decides on that.
    """

    images: Count
    digest: str
    contents: str | None = None
    labels: str | None = None
    names: list[str] | list[Count] | None = None
    pixels: str | None = None

    def rows(self) -> tuple[Tensor, Tensor] | None:
        """Contents and labels, int64 (N,) each; None where they are not recorded, or damaged."""
        if self.contents is None or self.labels is None:
            return None
        try:
            contents, labels = _unpacked(self.contents, "<i8"), _unpacked(self.labels, "<u2")
        except ValueError:
            return None
        sound = len(contents) == len(labels) == self.images and digest_part(contents, labels) == self.digest
        return (contents, labels) if sound else None


class Identity(_Record):
    """What a run records of its data.

    Attributes:
        version: of this format.
        digest: of everything that reaches the network before the split: classes, channels, contents, labels, order.
        channels: 1 for grey, 3 for colour.
        classes: in the order of the labels.
        parts: train, validation and test.
    """

    version: Literal[1] = 1
    digest: str
    channels: Literal[1, 3]
    classes: list[ClassRecord]
    parts: dict[PartName, PartRecord]

    @field_validator("parts")
    @classmethod
    def _every_part_is_there(cls, parts: dict[PartName, PartRecord]) -> dict[PartName, PartRecord]:
        if set(parts) != set(PARTS):
            raise ValueError(f"got {', '.join(parts)}; accepted is {', '.join(PARTS)}")
        return parts

    @model_validator(mode="after")
    def _labels_are_of_classes(self) -> "Identity":
        for name, part in self.parts.items():
            rows = part.rows()
            if rows and len(rows[1]) and int(rows[1].max()) >= len(self.classes):
                raise ValueError(
                    f"got a label of {int(rows[1].max())} in {name}; accepted are {len(self.classes)} classes"
                )
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return tuple(one.name for one in self.classes)

    def compact(self) -> dict[str, Any]:
        """Leave out what would make a checkpoint large: plain JSON values."""
        left_out = {"train": {"contents", "labels", "names"}, "validation": {"contents", "labels", "names"}}
        every: dict[str, Any] = {**left_out, "test": {"names"}}
        return self.model_dump(exclude={"parts": every}, exclude_none=True)

    def agrees(self, other: "Identity") -> bool:
        """Whether both are of the same images in the same parts."""
        each = [(one.digest, *(one.parts[part].digest for part in one.parts)) for one in (self, other)]
        return each[0] == each[1]


def identify(train: ImageSet, validation: ImageSet, test: ImageSet, classes: tuple[str, ...], digest: str) -> Identity:
    """Make the record of divided data.

    Args:
        train: part that is trained on.
        validation: part that chooses the epoch.
        test: part that is tested on.
        classes: names, in the order of the labels.
        digest: of the whole before the split, of `digest_source`.
    """
    parts = {
        name: PartRecord(
            images=len(part),
            digest=digest_part(contents_of(part), part.labels),
            contents=_packed(contents_of(part), "<i8"),
            labels=_packed(part.labels, "<u2"),
            names=_encodable_names(part.names),
            pixels=digest_pixels(part),
        )
        for name, part in zip(PARTS, (train, validation, test), strict=True)
    }
    whole = [train, validation, test]
    contents, labels = torch.cat([contents_of(p) for p in whole]), torch.cat([p.labels for p in whole])
    return Identity.model_validate(
        {
            "digest": digest,
            "channels": train.array.shape[1],
            "classes": record_classes(classes, contents, labels),
            "parts": parts,
        }
    )


def record_classes(classes: tuple[str, ...], contents: Tensor, labels: Tensor) -> list[ClassRecord]:
    """Count the images of each class, and digest their contents in ascending order.

    Args:
        classes: names, in the order of the labels.
        contents: digest of each image, int64 (N,).
        labels: int64 (N,).
    """
    order = np.lexsort((contents.numpy(), labels.numpy()))
    ascending, counts = contents.numpy()[order], torch.bincount(labels, minlength=len(classes)).tolist()
    groups = np.split(ascending, np.cumsum(counts)[:-1])
    return [
        ClassRecord(name=encodable(name), images=count, digest=hashlib.sha256(_bytes(group, "<i8")).hexdigest()[:16])
        for name, count, group in zip(classes, counts, groups, strict=True)
    ]


def contents_of(images: ImageSet) -> Tensor:
    """Digests of images that have an origin, int64 (N,)."""
    assert images.contents is not None
    return images.contents


def digest_source(classes: tuple[str, ...], *parts: ImageSet) -> str:
    """Digest what reaches the network before the split: neither names of files nor times."""
    digest = hashlib.sha256(json.dumps([list(classes), parts[0].array.shape[1]]).encode())
    for part in parts:
        digest.update(digest_part(contents_of(part), part.labels).encode())
    return digest.hexdigest()


def digest_part(contents: Tensor, labels: Tensor) -> str:
    """Digest contents and labels, int64 (N,) each, in their order."""
    return hashlib.sha256(_bytes(contents.numpy(), "<i8") + _bytes(labels.numpy(), "<u2")).hexdigest()


def digest_pixels(images: ImageSet) -> str | None:
    """Digest images as they were read; None where that does not depend on the others of the set, as of an array."""
    if images.origin is None or images.origin.names is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(images), 1000):
        digest.update(images[slice(start, start + 1000)].array.numpy().tobytes())
    return digest.hexdigest()


def write_identity(folder: Path, identity: Identity | None) -> None:
    """Write data.json into a run folder, whole or not at all; nothing where there is no record."""
    if identity is None:
        return
    text = json.dumps(identity.model_dump(), indent=1, ensure_ascii=False, allow_nan=False)  # a line for each name
    write_text(folder / FILE, text + "\n")


def read_identity(folder: Path) -> Identity | None:
    """Read data.json; None if it is absent or damaged."""
    try:
        return Identity.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError):
        return None


def encodable(name: str) -> str:
    """Write a name so that UTF-8 has it; a file's may hold bytes that are in no encoding."""
    return name.encode("utf-8", "backslashreplace").decode()


def _encodable_names(names: list[str] | list[int]) -> Any:
    return [encodable(name) if isinstance(name, str) else name for name in names]


def _packed(values: Tensor, kind: str) -> str:
    return base64.b64encode(_bytes(values.numpy(), kind)).decode()


def _unpacked(text: str, kind: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text, validate=True), kind).astype(np.int64))


def _bytes(values: Any, kind: str) -> bytes:
    content: bytes = np.asarray(values).astype(kind).tobytes()
    return content
