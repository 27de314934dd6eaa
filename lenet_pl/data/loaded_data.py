"""A loaded dataset: its splits, its preprocessing and the record of its images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lenet_pl.data.create_data_record import create_data_record
from lenet_pl.data.data_record import SPLITS, DataRecord
from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.folds import hold_out, split_grouped
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.run_images import UNRECORDED, RunImages
from lenet_pl.data.split import split
from lenet_pl.data.split_digests import digest_source
from lenet_pl.data.transform import Preprocess, pixel_statistics
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.settings import DataSettings, FoldSettings
from lenet_pl.settings.input_range import channel_ranges


@dataclass(frozen=True)
class LoadedData:
    """The images of a dataset, in the splits of a run.

    Attributes:
        source: The dataset with its official splits.
        train_set: The training images.
        validation_set: The validation images.
        test_set: The test images.
        record: The record of the images in each split. None for a published dataset, and for a run whose version of
            lenet_pl did not record them.
        fold: The fold of a cross-validation that is the test split; None without.
    """

    source: DatasetSplits
    train_set: ImageDataset
    validation_set: ImageDataset
    test_set: ImageDataset
    record: DataRecord | None = None
    fold: FoldSettings | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        return self.source.classes

    @property
    def channels(self) -> int:
        """The number of channels: 1 for gray, 3 for color."""
        return self.source.channels

    def doubts(self) -> list[str]:
        """List what makes the test metrics unreliable: leaked images and classes without test images, one line each."""
        found, splits = [], (self.train_set, self.validation_set, self.test_set)
        contents = [split.contents for split in splits]
        if all(content is not None for content in contents):
            train, validation = (set(content.tolist()) for content in contents[:2] if content is not None)
            for name, seen in (("training", train), ("validation", validation - train)):
                if common := sum(content in seen for content in contents[2].tolist()):  # type: ignore[union-attr]
                    found.append(f"{common:,} of the {len(self.test_set):,} test images are copies of {name} images")
        there = set(self.test_set.labels.tolist())
        if missing := [name for k, name in enumerate(self.classes) if k not in there]:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            found.append(f"no test image of {', '.join(map(printable, missing[:5]))}{more}")
        return found

    def class_weights(self) -> Tensor:
        """Compute weights proportional to 1 / class frequency, with mean 1 over the training images; float (K,)."""
        counts = Counter(self.train_set.labels.tolist())
        total, num_classes = len(self.train_set), len(self.classes)
        return torch.tensor([total / (num_classes * counts[k]) if counts[k] else 0.0 for k in range(num_classes)])


def split_source(source: DatasetSplits, settings: DataSettings, own: RunImages | None = None) -> LoadedData:
    """Split a dataset and record the images of each split, or find the recorded images of a run.

    Args:
        source: The dataset.
        settings: How to split validation images off the training images if the dataset has none, and which fold of a
            cross-validation is the test split.
        own: The recorded images of an existing run, to use the same ones again, or None for the dataset as it is.

    Raises:
        DataError: If the images differ from those of the run.
        SettingError: If the split does not fit the dataset.
    """
    if own and (splits := own.find(source)):
        train_set, validation_set, test_set = (splits[name] for name in SPLITS)
        return LoadedData(
            replace(source, classes=own.classes),
            train_set,
            validation_set,
            test_set,
            own.recorded(),
            settings.split.fold,
        )
    whole, test, validation_images = source.train, source.test, source.validation
    train, groups = torch.arange(len(whole)), None
    if settings.split.fold:
        whole = source.whole or whole
        train, held_out, groups = hold_out(whole, settings, source.classes)
        test = whole.subset(held_out)
    if validation_images is None:
        labels, how = whole.labels[train], settings.split
        rest, validation = split(labels, how) if groups is None else split_grouped(labels, groups[train.numpy()], how)
        validation_images, train = whole.subset(train[validation]), train[rest]
    missing = set(range(len(source.classes))) - set(whole.labels[train].tolist())
    if missing:
        names = ", ".join(source.classes[k] for k in sorted(missing)[:5])
        raise SettingError(
            f"data.split: leaves no training image of {len(missing)} classes ({names}); "
            "must leave at least one per class: use another split or more images"
        )
    loaded = LoadedData(source, whole.subset(train), validation_images, test, fold=settings.split.fold)
    if whole.origin is None:
        return loaded
    if own and own.record is None:  # the images at the start of the run are unknown, so record none
        print(UNRECORDED)
        return loaded
    digest = digest_source(source.classes, *source.splits)
    record = create_data_record(loaded.train_set, loaded.validation_set, loaded.test_set, source.classes, digest)
    if own:
        own.refuse_others(record)
    return replace(loaded, record=record)


def build_preprocess(
    data: LoadedData,
    image_size: int,
    resize_mode: str,
    input_range: Sequence[float] | Sequence[Sequence[float]] | None = None,
    statistics: tuple[Sequence[float], Sequence[float]] | None = None,
) -> Preprocess:
    """Build resizing and normalization; arguments as for `ImageDataModule`.

    Raises:
        DataError: If all training images are identical.
        SettingError: If `input_range` has another number of channels.
    """
    source = data.source
    # Published statistics include the images of the fold
    mean, std = statistics or ((None, None) if data.fold else (source.mean, source.std))
    if input_range:
        ranges = channel_ranges(input_range)
        if len(ranges) not in (1, source.channels):
            raise SettingError(
                f"input_range: got {len(ranges)} ranges for {source.channels} channel{'s' * (source.channels > 1)}; "
                "must be [black,white], or such a pair for each channel"
            )
        ranges *= source.channels // len(ranges)
        mean, std = [-low / (high - low) for low, high in ranges], [1 / (high - low) for low, high in ranges]
    elif mean is None or std is None:
        mean, std = pixel_statistics(data.train_set)
        if min(std) == 1:  # the replacement for 0; levels in [0, 1] have a standard deviation of at most 0.5
            raise DataError(
                f"data: all training images are identical, every level is {round(255 * mean[0])}; must differ "
                "(dark drawings on a transparent background need data.background=255)"
            )
    return Preprocess(image_size, resize_mode, mean, std, source.background)
