"""Comparison of the recorded images of a run with the current dataset, and their recovery from a changed one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from lenet_pl.data.changes import count_missing, describe, describe_classes, list_current, list_recorded
from lenet_pl.data.create_data_record import record_classes
from lenet_pl.data.data_record import FILE, SPLITS, DataRecord, SplitName, read_data_record
from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.recover_images import all_contents, choose_images
from lenet_pl.data.split_digests import digest_pixels, digest_source
from lenet_pl.errors import DataError, printable
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.settings import DataSettings, FolderDataSettings, TrainSettings

WORDS: dict[SplitName, str] = {"train": "training", "validation": "validation", "test": "test"}
UNRECORDED = (
    "note: the run was started by an earlier version that did not record its images; changes of its data cannot be "
    "detected"
)


@dataclass(frozen=True)
class RunImages:
    """The recorded images of a run.

    Attributes:
        record: The record of the run's data, or None if an earlier version of lenet_pl wrote none.
        folder: The run folder, whose data.json may contain more than the checkpoint.
        wanted: The splits to use. The others may be missing.
        accept: Whether to recover the recorded images from a changed dataset if all wanted ones still exist.
        instead: An alternative for changed data, appended to error messages.
        channels: The number of input channels of the network, or None if unknown.
    """

    record: DataRecord | None
    folder: Path
    wanted: tuple[SplitName, ...] = SPLITS
    accept: bool = False
    instead: str = ""
    channels: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The recorded class names, in the order of the labels."""
        assert self.record
        return self.record.class_names

    def recorded(self) -> DataRecord:
        """Return the complete record from data.json if it is valid and of this run, else that of the checkpoint."""
        assert self.record
        found = read_data_record(self.folder)
        return found if found and found.agrees(self.record) else self.record

    def read_as_before(self, settings: DataSettings) -> DataSettings:
        """Replace automatic settings by their recorded values, because added images could change the outcome."""
        if not isinstance(settings, FolderDataSettings) or settings.color_mode != "auto":
            return settings
        channels = self.record.channels if self.record else self.channels
        if channels == 3:  # earlier versions treated gray images saved as color as color images
            return settings.model_copy(update={"color_mode": "rgb"})
        return settings.model_copy(update={"color_mode": "gray"}) if self.accept and channels == 1 else settings

    def find(self, source: DatasetSplits) -> dict[SplitName, ImageDataset] | None:
        """Compare the current dataset with the record.

        Args:
            source: The current dataset.

        Returns:
            None if the dataset is unchanged or not recorded. Otherwise the recorded splits, with the same images and
            labels in the same order. Splits that are not wanted are empty if any of their images is missing.

        Raises:
            DataError: If the dataset changed and `accept` is false, or wanted images are missing.
        """
        if source.train.origin is None or self.record is None:
            return None
        if self.record.digest == digest_source(source.classes, *source.splits):
            return None
        full = self.recorded()
        there = all_contents(source)
        missing = {name: count_missing(full.parts[name], there) for name in self.wanted}
        changes = f"data: {printable(self._changes(full, source))} since the run was trained"
        if not self.accept or any(count != 0 for count in missing.values()):
            raise DataError(f"{changes}; {self._advice(missing)}")
        chosen = {name: choose_images(source, full.parts[name]) for name in SPLITS}
        if any(full.parts[name].pixels not in (None, digest_pixels(chosen[name])) for name in self.wanted):
            raise DataError(
                f"{changes}; must be the original dataset, because the added images change how those of the run are "
                f"read (range of levels, or size){self.instead}"
            )
        print(f"note: {changes}; using the {self._named(self.wanted)} images of the run, none of which is missing")
        return chosen

    def refuse_others(self, found: DataRecord) -> None:
        """Raise DataError if the dataset or its splits differ from the record."""
        if self.record and not self.record.agrees(found):
            what = "the images differ from those"
            if self.record.digest == found.digest:
                what = "the images are split differently from those"
            raise DataError(f"data: {what} with which {self.folder} was started; must be the same images and splits")

    def _changes(self, full: DataRecord, source: DatasetSplits) -> str:
        before = list_recorded(full)
        if before is not None:
            return describe(before, list_current(source.classes, *source.splits))
        contents = torch.tensor(all_contents(source), dtype=torch.int64)
        labels = torch.cat([split.labels for split in source.splits])
        return describe_classes(full.classes, record_classes(source.classes, contents, labels))

    def _advice(self, missing: dict[SplitName, int | None]) -> str:
        """Explain what to do about changed data.

        Args:
            missing: The number of missing images of each wanted split, or None if unknown.
        """
        assert self.record
        words = "must be the original dataset"
        if not self.wanted:
            return f"{words}{self.instead}"
        if unknown := [name for name, count in missing.items() if count is None]:
            named = self._named(unknown)
            return f"{words}; recovering the {named} images of the run requires its {FILE}{self.instead}"
        if some := [
            f"{count:,} of {self.record.parts[name].images:,} {WORDS[name]} images"
            for name, count in missing.items()
            if count
        ]:
            return f"{words}: {' and '.join(some)} of the run are missing{self.instead}"
        named = self._named(self.wanted)
        return (
            f"{words}, or data.accept_changes=true to use the {named} images of the run, none of which is missing"
            f"{self.instead}"
        )

    @staticmethod
    def _named(splits: Sequence[SplitName]) -> str:
        return ", ".join(WORDS[split] for split in splits)


def record_in_checkpoint(checkpoint: dict[str, Any]) -> DataRecord | None:
    """Extract the record of the data from the content of a checkpoint; None if it has none.

    Raises:
        ValidationError: If the record is invalid for this version of lenet_pl.
    """
    given = checkpoint.get("hyper_parameters")
    record = given.get("data") if isinstance(given, dict) else None
    return None if record is None else DataRecord.model_validate(record)


def images_of_run(settings: TrainSettings, *folders: Path) -> RunImages | None:
    """Read the recorded images of a run to resume; None for a new run, which has no checkpoint.

    Args:
        settings: The settings of the run.
        folders: The run folder, or those of several runs on the same images, of which the first with a record is used.

    Raises:
        DataError: If a checkpoint is corrupt, or not written by this version of lenet_pl.
    """
    wanted: tuple[SplitName, ...] = SPLITS if settings.test else ("train", "validation")
    accept = bool(getattr(settings.data, "accept_changes", False))  # only datasets from user files have this setting
    found: list[RunImages] = []
    for folder in folders:
        last = folder / "checkpoints" / "last.ckpt"
        if not settings.resume or not last.exists():
            continue
        try:
            content = load_checkpoint(last)
            channels = content.get("hyper_parameters", {}).get("channels")
            found.append(RunImages(record_in_checkpoint(content), folder, wanted, accept, channels=channels))
        except ValidationError:
            raise DataError(f"{last}: not written by this version of lenet_pl (invalid record of its data)") from None
    return next((own for own in found if own.record), found[0] if found else None)
