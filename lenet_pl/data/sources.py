"""From a name to arrays: whatever its origin, a data set is uint8 images (N, C, H, W) and int64 labels (N,)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lenet_pl.data.arrays import read_arrays
from lenet_pl.data.catalogue import DIGIT_NAMES, PUBLISHED, DataFile, Published, emnist
from lenet_pl.data.files import read_files
from lenet_pl.data.folder import read_folder
from lenet_pl.data.formats import decode_cifar, decode_idx, decode_libsvm
from lenet_pl.data.image_set import ImageSet, stratified_shares
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
class Source:
    """A data set with its official parts."""

    name: str
    train: ImageSet  # training and validation, or training alone where there is a validation part
    test: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None = None  # per channel, of training pixels scaled to [0, 1]; None: to be computed
    std: tuple[float, ...] | None = None
    background: int = 0  # grey level around the object
    validation: ImageSet | None = None  # None: to be taken from `train`

    @property
    def channels(self) -> int:
        return self.train.array.shape[1]


def load_source(settings: DataSettings, image_size: int) -> Source:
    """Load the data set that the settings name.

    Args:
        settings: of one of the kinds that `conf/data/` has.
        image_size: px that the model wants; only `folder` looks at it.

    Raises:
        DataError: files are absent, damaged or not what they should be.
    """
    if isinstance(settings, NamedDataSettings):
        return _published(settings.name, PUBLISHED[settings.name], settings)
    if isinstance(settings, EmnistDataSettings):
        return _published("emnist", emnist(settings.variant), settings)
    if isinstance(settings, FolderDataSettings):
        train, validation, test, classes = read_folder(settings, image_size)
        return Source(settings.title, train, test, classes, background=settings.background, validation=validation)
    if isinstance(settings, ArraysDataSettings):
        return Source(settings.title, *read_arrays(settings), background=settings.background)
    if isinstance(settings, FakeDataSettings):
        return _fake(settings)
    assert isinstance(settings, DigitsDataSettings)
    return _digits()


def _published(name: str, published: Published, settings: NamedDataSettings | EmnistDataSettings) -> Source:
    every = (*published.train, *published.test)
    contents = read_files(name, published, every, Path(settings.root), download=settings.download)
    parts = []
    for files, size in zip((published.train, published.test), published.sizes, strict=True):
        images, labels = _decode(name, files, [contents.pop(0) for _ in files])
        if isinstance(settings, EmnistDataSettings):
            images = images.transpose(2, 3).contiguous()
            labels = labels - 1 if settings.variant == "letters" else labels
        if len(images) != size or len(labels) != size or images.shape[1] != published.channels:
            raise DataError(
                f"data={name}: {tuple(images.shape)} images and {len(labels)} labels; accepted are {size:,}"
            )
        if labels.min() < 0 or labels.max() >= len(published.classes):
            raise DataError(
                f"data={name}: labels {labels.min()} to {labels.max()} for {len(published.classes)} classes"
            )
        parts.append(ImageSet(images, labels))
    return Source(name, parts[0], parts[1], published.classes, published.mean, published.std)


def _decode(name: str, files: tuple[DataFile, ...], contents: list[bytes]) -> tuple[Tensor, Tensor]:
    if name == "usps":
        return decode_libsvm(contents[0])
    if name == "cifar10":
        return decode_cifar(contents)
    images, labels = (decode_idx(c, f.name) for c, f in zip(contents, files, strict=True))
    return images[:, None], (labels[:, 0] if labels.ndim == 2 else labels).long()  # QMNIST: column 0 is the class


def _digits() -> Source:
    """Give scikit-learn's 1,797 digits, 8×8 px with 16 grey levels; a fifth of each class is the test part."""
    from sklearn.datasets import load_digits  # heavy, and only this set needs it

    bunch = load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    train, test = stratified_shares(labels, round(len(labels) / 5))
    everything = ImageSet(images, labels)
    return Source("digits", everything.subset(train), everything.subset(test), DIGIT_NAMES)


def _fake(settings: FakeDataSettings) -> Source:
    """Make one random pattern per class and noise around it, the same for the same seed."""
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (settings.channels, settings.image_size, settings.image_size)
    patterns = torch.rand(settings.classes, *shape, generator=generator) * 200
    parts = []
    for count in (settings.images, settings.test_images):
        labels = torch.arange(count) % settings.classes
        noise = torch.rand(count, *shape, generator=generator) * 55
        parts.append(ImageSet((patterns[labels] + noise).to(torch.uint8), labels))
    return Source("fake", parts[0], parts[1], tuple(f"class {k}" for k in range(settings.classes)))
