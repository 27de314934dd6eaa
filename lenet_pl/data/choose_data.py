"""The data that `ImageDataModule` is given, by name, by settings or as objects, in one form."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lenet_pl.data.in_memory import splits_from_objects
from lenet_pl.data.loaded_data import LoadedData, split_source
from lenet_pl.data.run_images import RunImages
from lenet_pl.data.sources import download_dataset, load_dataset
from lenet_pl.errors import DataError
from lenet_pl.settings import (
    ArraysDataSettings,
    DataSettings,
    DigitsDataSettings,
    EmnistDataSettings,
    FakeDataSettings,
    FolderDataSettings,
    NamedDataSettings,
    SplitSettings,
    validate,
)
from lenet_pl.settings.choices import read_choice

KINDS: dict[str, type[DataSettings]] = {
    "arrays": ArraysDataSettings,
    "digits": DigitsDataSettings,
    "emnist": EmnistDataSettings,
    "fake": FakeDataSettings,
    "folder": FolderDataSettings,
}
# As for a folder of images, which has no published size either
IN_MEMORY_SPLIT = {
    "name": "images",
    "resize_mode": "pad",
    "split": {"method": "stratified", "val_size": 0.15, "fold": None},
}


class DataSource(Protocol):
    """A dataset that is yet to be loaded.

    Attributes:
        settings: How to split the training images and how smaller images reach the model's size.
    """

    @property
    def settings(self) -> DataSettings: ...

    def download(self) -> None:
        """Download missing files."""

    def load(self, image_size: int) -> LoadedData:
        """Load and split all images; folders read them at the size of the model's input in px."""

    def with_split(self, settings: SplitSettings) -> "DataSource":
        """Return the same dataset, to be split differently."""


@dataclass(frozen=True)
class SettingsSource:
    """A dataset of `conf/data/`, or the recorded images of a run on it."""

    settings: DataSettings
    own: RunImages | None = None

    def download(self) -> None:
        download_dataset(self.settings)

    def load(self, image_size: int) -> LoadedData:
        settings = self.own.read_as_before(self.settings) if self.own else self.settings
        return split_source(load_dataset(settings, image_size), self.settings, self.own)

    def with_split(self, settings: SplitSettings) -> "SettingsSource":
        return replace(self, settings=self.settings.model_copy(update={"split": settings}))


@dataclass(frozen=True)
class InMemorySource:
    """Arrays, tensors or torch datasets of the caller, with the options of `splits_from_objects`."""

    data: Any
    settings: DataSettings
    options: Mapping[str, Any]

    def download(self) -> None:
        return

    def load(self, image_size: int) -> LoadedData:
        return split_source(splits_from_objects(self.data, **self.options), self.settings)

    def with_split(self, settings: SplitSettings) -> "InMemorySource":
        return replace(self, settings=self.settings.model_copy(update={"split": settings}))


def choose_data(
    data: Any,
    root: str | Path | None = None,
    resize_mode: str | None = None,
    val_size: int | float | None = None,
    split_method: str | None = None,
    own: RunImages | None = None,
    options: Mapping[str, Any] | None = None,
) -> DataSource:
    """Convert whatever describes a dataset into one that can be loaded.

    Args:
        data: The name of a dataset, validated settings, or objects for `splits_from_objects`.
        root: The folder of published datasets; None for the environment variable LENET_PL_DATA, or "data".
        resize_mode: "pad" or "resize"; None for that of `conf/data/<name>.yaml`, or "pad" for objects.
        val_size: The number of validation images, or their fraction of the training images; None for that of the file,
            or 0.15 for objects.
        split_method: "stratified", "random" or "last"; None for that of the file, or "stratified" for objects.
        own: The recorded images of an existing run, if `data` are settings.
        options: Other settings of a named dataset, or other arguments of `splits_from_objects`.

    Raises:
        SettingError: If a name or option is unknown, or a value is out of range.
        DataError: If `data` is a path.
    """
    if isinstance(data, Path):
        raise DataError(f'data: got the path {data}; use data="folder" or data="arrays" with path=...')
    split = {key: value for key, value in (("method", split_method), ("val_size", val_size)) if value is not None}
    changes: dict[str, Any] = {"split": split} | ({"resize_mode": resize_mode} if resize_mode else {})
    if isinstance(data, str):
        changes |= {key: str(value) if isinstance(value, Path) else value for key, value in (options or {}).items()}
        values = read_choice("data", data, changes)
        values |= {"root": str(root or os.environ.get("LENET_PL_DATA", "data"))} if "root" in values else {}
        return SettingsSource(validate(KINDS.get(data, NamedDataSettings), values), own)
    if isinstance(data, DataSettings):
        values = data.model_dump() | changes | {"split": data.split.model_dump() | split} | dict(options or {})
        return SettingsSource(validate(type(data), values), own)
    values = IN_MEMORY_SPLIT | changes | {"split": IN_MEMORY_SPLIT["split"] | split}  # type: ignore[operator]
    return InMemorySource(data, validate(DataSettings, values), options or {})
