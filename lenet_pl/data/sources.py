"""Loading of any dataset as uint8 images of shape (N, C, H, W) and int64 labels of shape (N,)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lenet_pl.data.arrays import read_arrays
from lenet_pl.data.decoders import decode_cifar, decode_idx, decode_libsvm
from lenet_pl.data.download import ensure_files, read_files
from lenet_pl.data.emnist import emnist
from lenet_pl.data.fingerprints import digest_images
from lenet_pl.data.folder import read_folder
from lenet_pl.data.image_set import ImageDataset, Origin
from lenet_pl.data.registry import DIGIT_NAMES, PUBLISHED, DataFile, PublishedDataset
from lenet_pl.data.split import stratified_split
from lenet_pl.errors import DataError
from lenet_pl.settings import (
    ArraysDataSettings,
    DataSettings,
    DigitsDataSettings,
    EmnistDataSettings,
    FakeDataSettings,
    FolderDataSettings,
    NamedDataSettings,
)


@dataclass(frozen=True)
class DatasetSplits:
    """A dataset with its official splits.

    Attributes:
        name: The name of the dataset.
        train: The training images, including the future validation images if `validation` is None.
        test: The test images.
        classes: The class names, in the order of the labels.
        mean: The mean per channel of training pixels scaled to [0, 1], or None if it is yet to be computed.
        std: The standard deviation per channel of training pixels scaled to [0, 1], or None.
        background: The gray level around the object, from 0 to 255.
        validation: The official validation images, or None if they are yet to be split off `train`.
        whole: All images in their original order if `test` is only a sample of them; None if it is an official split.
    """

    name: str
    train: ImageDataset
    test: ImageDataset
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    background: int = 0
    validation: ImageDataset | None = None
    whole: ImageDataset | None = None

    @property
    def splits(self) -> tuple[ImageDataset, ...]:
        """The official splits: training, validation if there is one, and test."""
        return tuple(split for split in (self.train, self.validation, self.test) if split is not None)

    @property
    def channels(self) -> int:
        """The number of channels: 1 for gray, 3 for color."""
        return self.train.array.shape[1]


def download_dataset(settings: DataSettings) -> None:
    """Download the missing files of a published dataset, and do nothing for all others.

    Raises:
        DataError: If a file is unavailable.
    """
    if isinstance(settings, NamedDataSettings | EmnistDataSettings):
        published = _find_published(settings)
        files = (*published.train, *published.test)
        ensure_files(settings.name, published, files, Path(settings.root), download=settings.download)


def load_dataset(settings: DataSettings, image_size: int) -> DatasetSplits:
    """Load a dataset.

    Args:
        settings: The settings of the dataset, of one of the classes used in `conf/data/`.
        image_size: The height and width of the model's input in px, which only `folder` uses.

    Raises:
        DataError: If files are missing, corrupt or have unexpected content.
    """
    if isinstance(settings, NamedDataSettings | EmnistDataSettings):
        return _published(settings.name, _find_published(settings), settings)
    if isinstance(settings, FolderDataSettings):
        train, validation, test, classes, whole = read_folder(settings, image_size)
        return DatasetSplits(
            settings.display_name,
            train,
            test,
            classes,
            background=settings.background,
            validation=validation,
            whole=whole,
        )
    if isinstance(settings, ArraysDataSettings):
        return DatasetSplits(settings.display_name, *read_arrays(settings), background=settings.background)
    if isinstance(settings, FakeDataSettings):
        return _fake(settings)
    assert isinstance(settings, DigitsDataSettings)
    return _digits()


def _find_published(settings: NamedDataSettings | EmnistDataSettings) -> PublishedDataset:
    return emnist(settings.variant) if isinstance(settings, EmnistDataSettings) else PUBLISHED[settings.name]


def _published(
    name: str, published: PublishedDataset, settings: NamedDataSettings | EmnistDataSettings
) -> DatasetSplits:
    every = (*published.train, *published.test)
    contents = read_files(name, published, every, Path(settings.root), download=settings.download)
    splits = []
    for files, size in zip((published.train, published.test), published.sizes, strict=True):
        images, labels = _decode(name, files, [contents.pop(0) for _ in files])
        if isinstance(settings, EmnistDataSettings):
            images = images.transpose(2, 3).contiguous()
            labels = labels - 1 if settings.variant == "letters" else labels
        if len(images) != size or len(labels) != size or images.shape[1] != published.channels:
            raise DataError(
                f"data={name}: got images of shape {tuple(images.shape)} and {len(labels)} labels; must be {size:,} of "
                f"each, with {published.channels} channel{'s' * (published.channels > 1)}"
            )
        if labels.min() < 0 or labels.max() >= len(published.classes):
            raise DataError(
                f"data={name}: got labels {labels.min()} to {labels.max()} for {len(published.classes)} classes"
            )
        splits.append(ImageDataset(images, labels))
    return DatasetSplits(name, splits[0], splits[1], published.classes, published.mean, published.std)


def _decode(name: str, files: tuple[DataFile, ...], contents: list[bytes]) -> tuple[Tensor, Tensor]:
    if name == "usps":
        return decode_libsvm(contents[0])
    if name == "cifar10":
        return decode_cifar(contents)
    images, labels = (decode_idx(c, f.name) for c, f in zip(contents, files, strict=True))
    return images[:, None], (labels[:, 0] if labels.ndim == 2 else labels).long()  # QMNIST: column 0 is the class


def _digits() -> DatasetSplits:
    """Load scikit-learn's 1,797 digits of 8×8 px with 17 gray levels; a fifth of each class is the test split."""
    from sklearn.datasets import load_digits  # a heavy import that only this dataset needs

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    train, test = stratified_split(labels, round(len(labels) / 5))
    everything = ImageDataset(images, labels, origin=Origin(digest_images(images.numpy())))
    return DatasetSplits("digits", everything.subset(train), everything.subset(test), DIGIT_NAMES, whole=everything)


def _fake(settings: FakeDataSettings) -> DatasetSplits:
    """Generate one random pattern per class with noise, reproducibly for the same seed."""
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (settings.channels, settings.image_size, settings.image_size)
    patterns = torch.rand(settings.classes, *shape, generator=generator) * 200
    splits = []
    for count in (settings.num_images, settings.test_images):
        labels = torch.arange(count) % settings.classes
        noise = torch.rand(count, *shape, generator=generator) * 55
        images = (patterns[labels] + noise).to(torch.uint8)
        splits.append(ImageDataset(images, labels, origin=Origin(digest_images(images.numpy()))))
    return DatasetSplits("fake", splits[0], splits[1], tuple(f"class {k}" for k in range(settings.classes)))
