"""All images of a dataset under one numbering, read in blocks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.image_dataset import ImageDataset

BLOCK_BYTES = 1 << 25  # of the images of a block as float32


@dataclass(frozen=True)
class AllImages:
    """The images of the official splits, one split after the other.

    Attributes:
        splits: The images of each split, by its name: train, val if the dataset has one, and test.
        classes: The class names, in the order of the labels.
        labels: The class of each image, int64 (N,).
        split_of: The number of the split of each image, int64 (N,).
    """

    splits: dict[str, ImageDataset]
    classes: tuple[str, ...]
    labels: Tensor
    split_of: Tensor

    @classmethod
    def of(cls, source: DatasetSplits) -> "AllImages":
        """Number the images of a dataset."""
        named = {"train": source.train, "val": source.validation, "test": source.test}
        splits = {name: split for name, split in named.items() if split is not None}
        sizes = torch.tensor([len(split) for split in splits.values()])
        labels = torch.cat([split.labels for split in splits.values()])
        return cls(splits, source.classes, labels, torch.arange(len(splits)).repeat_interleave(sizes))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The number of channels, the height and the width of an image in px."""
        channels, height, width = next(iter(self.splits.values())).array.shape[1:]
        return channels, height, width

    @property
    def names(self) -> list[str] | list[int]:
        """The file of each image, or its row in the arrays of its split."""
        return [name for split in self.splits.values() for name in split.names]  # type: ignore[return-value]

    def split_name(self, index: int) -> str:
        """Return the name of the split of an image."""
        return list(self.splits)[int(self.split_of[index])]

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the numbers of successive images and their pixels, uint8 (B, C, H, W)."""
        channels, height, width = self.shape
        rows = max(1, BLOCK_BYTES // (4 * channels * height * width))
        start = 0
        for split in self.splits.values():
            for first in range(0, len(split), rows):
                pixels = split[slice(first, first + rows)].array
                yield slice(start + first, start + first + len(pixels)), pixels
            start += len(split)

    def take(self, indices: Tensor) -> Tensor:
        """Copy selected images, uint8 (M, C, H, W), given their numbers, int64 (M,)."""
        taken = torch.empty(len(indices), *self.shape, dtype=torch.uint8)
        start = 0
        for split in self.splits.values():
            here = (indices >= start) & (indices < start + len(split))
            if here.any():
                taken[here] = split[indices[here] - start].array
            start += len(split)
        return taken
