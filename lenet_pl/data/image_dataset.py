"""Labeled images in an array."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Origin:
    """Digests and names that identify the images of an array.

    Attributes:
        contents: The digest of each image, int64 of shape (M,); see `image_digests.py`.
        names: The path of each image relative to the folder of the dataset, or None if images are known by their row.
    """

    contents: Tensor
    names: Sequence[str] | None = None


class Prefetcher(Protocol):
    """Read-ahead and change detection of an array on disk."""

    def __call__(self, rows: Tensor) -> None:
        """Request rows that will be read soon, given as int64 indices of shape (B,)."""

    def verify(self) -> None:
        """Raise DataError if the file changed after it was opened."""


@dataclass(frozen=True)
class ImageDataset:
    """Images and labels: a whole array, or selected rows of an array that is never copied as a whole.

    Attributes:
        array: Pixels from 0 to 255, uint8 of shape (M, C, H, W), in memory, memory-mapped or on an accelerator.
        labels: The class of each image, int64 of shape (N,).
        rows: The row of each image in the array, int64 of shape (N,), or None for all M rows.
        prefetcher: The read-ahead of an array on disk.
        origin: Digests and names of all M images, or None if the files were verified against published digests.
    """

    array: Tensor
    labels: Tensor
    rows: Tensor | None = None
    prefetcher: Prefetcher | None = None
    origin: Origin | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageDataset":
        """Copy the selected images."""
        return ImageDataset(self.array[index if self.rows is None else self.rows[index]], self.labels[index])

    @property
    def images(self) -> Tensor:
        """All images as one tensor, uint8 of shape (N, C, H, W)."""
        return self.array if self.rows is None else self.array[self.rows]

    def prefetch(self, index: Tensor | slice) -> None:
        """Start reading images ahead if they are on disk."""
        if self.prefetcher:
            self.prefetcher(torch.arange(len(self))[index] if self.rows is None else self.rows[index])

    @property
    def contents(self) -> Tensor | None:
        """The digests of the images, int64 of shape (N,), or None without an origin."""
        if self.origin is None:
            return None
        return self.origin.contents if self.rows is None else self.origin.contents[self.rows]

    @property
    def names(self) -> list[str] | list[int]:
        """The names of the images, or their rows if they have no names."""
        rows: list[int] = list(range(len(self))) if self.rows is None else self.rows.tolist()
        names = self.origin.names if self.origin else None
        return rows if names is None else [names[row] for row in rows]

    def subset(self, index: Tensor) -> "ImageDataset":
        """Select images without copying them."""
        return replace(self, labels=self.labels[index], rows=index if self.rows is None else self.rows[index])

    def to(self, device: torch.device) -> "ImageDataset":
        """Move the images to an accelerator. Nothing is copied for the CPU, and images on disk stay there."""
        stays = device.type == "cpu" or self.prefetcher
        return self if stays else ImageDataset(self.images.to(device), self.labels.to(device))
