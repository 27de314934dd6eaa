"""A set of labelled images, and fixed ways to divide it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from lenet_pl.errors import SettingError
from lenet_pl.settings import SplitSettings

SPLIT_SEED = 1998  # a constant, so that every run of every seed sees the same validation images


@dataclass(frozen=True)
class Origin:
    """Where the images of an array came from, by which they are known again.

    Attributes:
        contents: int64 (M,), digest of each image, see `content.py`.
        names: of each image, relative to the folder of the set; None: its row is its name.
    """

    contents: Tensor
    names: Sequence[str] | None = None


class OnDisk(Protocol):
    """What an array on disk needs to be told, and asked."""

    def __call__(self, rows: Tensor) -> None:
        """Announce rows that are wanted soon, int64 (B,)."""

    def verify(self) -> None:
        """Raise DataError if the file has changed since it was opened."""


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes: a whole array, or chosen rows of one that is never copied as a whole."""

    array: Tensor  # uint8 (M, C, H, W), grey levels 0 to 255; in memory, memory-mapped or on an accelerator
    labels: Tensor  # int64 (N,)
    rows: Tensor | None = None  # int64 (N,), where in the array the images are; None: N is M
    announce: OnDisk | None = None  # of an array on disk
    origin: Origin | None = None  # of the array; None: its files were verified against published digests

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageSet":
        """Gather some of the images."""
        return ImageSet(self.array[index if self.rows is None else self.rows[index]], self.labels[index])

    @property
    def images(self) -> Tensor:
        """All images in a tensor of their own, uint8 (N, C, H, W)."""
        return self.array if self.rows is None else self.array[self.rows]

    def expect(self, index: Tensor | slice) -> None:
        """Say which images are gathered soon; only an array on disk needs to know."""
        if self.announce:
            self.announce(torch.arange(len(self))[index] if self.rows is None else self.rows[index])

    @property
    def contents(self) -> Tensor | None:
        """Digests of the images, int64 (N,); None where there is no origin."""
        if self.origin is None:
            return None
        return self.origin.contents if self.rows is None else self.origin.contents[self.rows]

    @property
    def names(self) -> list[str] | list[int]:
        """Names of the images, or their rows."""
        rows: list[int] = list(range(len(self))) if self.rows is None else self.rows.tolist()
        names = self.origin.names if self.origin else None
        return rows if names is None else [names[row] for row in rows]

    def subset(self, index: Tensor) -> "ImageSet":
        """Choose images without copying them."""
        return replace(self, labels=self.labels[index], rows=index if self.rows is None else self.rows[index])

    def to(self, device: torch.device) -> "ImageSet":
        """Move the images to an accelerator; on the CPU nothing is copied, and what is on disk stays there."""
        stays = device.type == "cpu" or self.announce
        return self if stays else ImageSet(self.images.to(device), self.labels.to(device))


def split(labels: Tensor, settings: SplitSettings) -> tuple[Tensor, Tensor]:
    """Choose validation images from the training part; the same ones for the same labels and settings.

    Returns:
        Ascending indices (int64) of training and of validation images; together each image once.

    Raises:
        SettingError: nothing would be left for one of the two.
    """
    total = len(labels)
    count = settings.validation if isinstance(settings.validation, int) else round(total * settings.validation)
    if not 0 < count < total:
        raise SettingError(
            f"data.split.validation: {settings.validation} takes {count} of {total} training images; accepted is "
            f"1 to {total - 1} images, or a share that leaves at least one on either side"
        )
    if settings.method == "stratified":
        return stratified_shares(labels, count)
    order = torch.arange(total)
    if settings.method == "random":
        order = torch.randperm(total, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return order[: total - count].sort().values, order[total - count :].sort().values


def stratified_shares(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Divide into a rest and `count` images whose classes are as frequent as in the whole, within one image.

    Returns:
        Ascending indices (int64) of the rest and of the chosen.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    by_class = order[torch.sort(labels[order], stable=True).indices]
    sizes = torch.bincount(labels)
    exact = sizes.double() * count / len(labels)
    shares = exact.floor().long()
    largest = torch.sort(exact - shares, descending=True, stable=True).indices
    shares[largest[: count - int(shares.sum())]] += 1  # largest remainders first
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)[:-1]])
    rank = torch.arange(len(labels)) - starts.repeat_interleave(sizes)
    chosen = rank < shares.repeat_interleave(sizes)
    return by_class[~chosen].sort().values, by_class[chosen].sort().values
