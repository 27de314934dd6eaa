"""Loading of any dataset as uint8 images of shape (N, C, H, W) and int64 labels of shape (N,)."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lenet_pl.data.arrays import read_arrays
from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.decoders import decode_cifar, decode_idx, decode_libsvm
from lenet_pl.data.download import ensure_files, read_files
from lenet_pl.data.emnist import emnist
from lenet_pl.data.folder import read_folder
from lenet_pl.data.image_dataset import ImageDataset, Origin
from lenet_pl.data.image_digests import digest_images
from lenet_pl.data.plugin_datasets import load_plugged
from lenet_pl.data.published import DIGIT_NAMES, PUBLISHED, DataFile, PublishedDataset
from lenet_pl.data.split import stratified_split
from lenet_pl.errors import DataError
from lenet_pl.plugins.build import build, entry_of
from lenet_pl.settings import (
    ArraysDataSettings,
    DataSettings,
    DigitsDataSettings,
    EmnistDataSettings,
    FakeDataSettings,
    FolderDataSettings,
    NamedDataSettings,
)


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
    if entry_of("data", settings).plugin:
        return load_plugged(settings)
    source: DatasetSplits = build("data", settings, image_size=image_size)
    return source


def load_published(settings: NamedDataSettings | EmnistDataSettings) -> DatasetSplits:
    """Load a published dataset."""
    return _published(settings.name, _find_published(settings), settings)


def load_folder(settings: FolderDataSettings, image_size: int) -> DatasetSplits:
    """Load the user's own images from class directories."""
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


def load_arrays(settings: ArraysDataSettings) -> DatasetSplits:
    """Load the user's own NumPy files."""
    return DatasetSplits(settings.display_name, *read_arrays(settings), background=settings.background)


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


def load_digits(settings: DigitsDataSettings) -> DatasetSplits:
    """Load scikit-learn's 1,797 digits of 8×8 px with 17 gray levels; a fifth of each class is the test split."""
    levels, labels = _read_digits()
    images = (levels * (255 / 16)).round().to(torch.uint8)[:, None]
    train, test = stratified_split(labels, round(len(labels) / 5))
    everything = ImageDataset(images, labels, origin=Origin(digest_images(images.numpy())))
    return DatasetSplits("digits", everything.subset(train), everything.subset(test), DIGIT_NAMES, whole=everything)


def _read_digits() -> tuple[Tensor, Tensor]:
    """Read the levels, float64 (N, 8, 8) from 0 to 16, and the labels, int64 (N,)."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (file := Path(folder, "datasets", "data", "digits.csv.gz")).is_file():
            table = torch.from_numpy(np.loadtxt(file, delimiter=","))  # loadtxt also unpacks
            return table[:, :64].view(-1, 8, 8), table[:, 64].long()
    from sklearn import datasets  # takes as long to import as torch, so only if its file has moved

    bunch = datasets.load_digits()
    return torch.from_numpy(bunch.images), torch.from_numpy(bunch.target).long()


def load_fake(settings: FakeDataSettings) -> DatasetSplits:
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
