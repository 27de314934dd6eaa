"""Batches, the contract between the data and the task.

Letters in shapes throughout the package: B images in a batch, N images in a dataset, C channels, H height and W width
in px, K classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(eq=False)
class MixedLabels:
    """The other labels of images that mixup or CutMix made from two.

    The loss of an image is weight · loss(label) + (1 - weight) · loss(other label), see `lenet_pl.optim.mixed_loss`.

    Attributes:
        others: Class indices of the image with the smaller weight, int64 (B,).
        weight: Weight of `Batch.labels`, float (B,), from 0.5 to 1.
    """

    others: Tensor
    weight: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Copy both to a device; return the object itself if they are there already."""
        others, weight = (one.to(device, non_blocking=non_blocking) for one in (self.others, self.weight))
        return self if others is self.others and weight is self.weight else type(self)(others, weight)


@dataclass(eq=False)
class Batch:
    """Preprocessed images with their labels, which unpack as `images, labels = batch`.

    It is not a tuple, because Lightning and torch rebuild tuples from their entries, which would lose `loss_scale`.

    Attributes:
        images: Normalized images, float (B, C, H, W).
        labels: Class indices from 0 to K-1, int64 (B,).
        loss_scale: Factor for the mean loss of this rank, so that every image of the global batch counts the same. It
            is 1 unless ranks have different numbers of images.
        mixed: The other labels if images are mixed; `labels` are then those of the larger weight. None otherwise.
    """

    images: Tensor
    labels: Tensor
    loss_scale: float = 1.0
    mixed: MixedLabels | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images, self.labels))

    def __len__(self) -> int:
        """Return the number of tensors, as for a pair of images and labels."""
        return 2

    def __getitem__(self, index: int) -> Tensor:
        """Return the images for index 0, the labels for index 1."""
        return (self.images, self.labels)[index]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Copy images and labels to a device; return the batch itself if they are there already."""
        images, labels = (tensor.to(device, non_blocking=non_blocking) for tensor in self)
        mixed = self.mixed.to(device, non_blocking=non_blocking) if self.mixed else None
        if images is self.images and labels is self.labels and mixed is self.mixed:
            return self
        return type(self)(images, labels, self.loss_scale, mixed)
