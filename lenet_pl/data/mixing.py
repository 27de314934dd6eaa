"""Mixup and CutMix: pairs of images of a batch are mixed, and so are their losses."""

import numpy as np
import torch
from torch import Tensor

from lenet_pl.batch import Batch, MixedLabels
from lenet_pl.data.augment.erasing import inside


class Mixing:
    """Mixup, CutMix, or each of them for about half of the images.

    Each image has a partner, by a random permutation of the batch, and a weight of its own.

    Args:
        mixup: The parameter alpha of the Beta distribution of the weight with which an image and its partner are
            averaged; 0 for no mixup.
        cutmix: The parameter alpha of the Beta distribution of the area that an image keeps when a rectangle of its
            partner is pasted into it; 0 for no CutMix.

    Sources: Zhang et al. 2018, "mixup: beyond empirical risk minimization". Yun et al. 2019, "CutMix: regularization
    strategy to train strong classifiers with localizable features".
    """

    def __init__(self, mixup: float = 0.0, cutmix: float = 0.0) -> None:
        self.mixup, self.cutmix = mixup, cutmix

    @property
    def active(self) -> bool:
        """Whether images are mixed."""
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Mix the images of a batch, which are not overwritten.

        Args:
            batch: The images, normalized or not, and the labels.
            generator: The source of all random numbers, on the CPU.

        Returns:
            The mixed images. `labels` are those of the image with the larger weight, and `mixed` has the others.
        """
        images, labels = batch
        count, device = len(labels), images.device
        partner = torch.randperm(count, generator=generator).to(labels.device)
        draws = torch.rand(count, 3, generator=generator).to(device)  # which of both; center of the rectangle, x and y
        other_images, other_labels = images[partner.to(device)], labels[partner]
        weight = images.new_ones(count)
        pasting = draws[:, 0] < (0.5 if self.mixup > 0 else 1) if self.cutmix > 0 else torch.zeros_like(weight).bool()
        mixed = images
        if self.mixup > 0:
            weight = torch.where(pasting, weight, beta(self.mixup, count, generator).to(weight))
            mixed = mix(images, other_images, weight)
        if self.cutmix > 0:
            area = torch.where(pasting, beta(self.cutmix, count, generator).to(weight), 1.0)
            mixed, kept = paste(mixed, other_images, area, draws[:, 1:])
            weight = torch.where(pasting, kept, weight)
        weight = weight.to(labels.device)
        first = weight >= 0.5
        return Batch(
            mixed,
            torch.where(first, labels, other_labels),
            batch.loss_scale,
            MixedLabels(torch.where(first, other_labels, labels), torch.where(first, weight, 1 - weight)),
        )


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw numbers from Beta(alpha, alpha), float (count,). torch's own distribution takes no generator."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()


def mix(images: Tensor, others: Tensor, weight: Tensor) -> Tensor:
    """Average pairs of images (B, C, H, W): weight · image + (1 - weight) · other, with weights (B,)."""
    return torch.lerp(others, images, weight.view(-1, 1, 1, 1))


def paste(images: Tensor, others: Tensor, area: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of other images.

    Its sides are the fraction sqrt(1 - area) of those of the image. What hangs over the edge is lost.

    Args:
        images: Images of shape (B, C, H, W). They are not overwritten.
        others: The other images, of the same shape.
        area: The fraction of the image that is kept, unless the rectangle hangs over the edge, of shape (B,).
        draws: Numbers in [0, 1) of shape (B, 2): place of the center, x and y.

    Returns:
        The images, and the fraction of each that was kept, of shape (B,).
    """
    height, width = images.shape[2:]
    half = 0.5 * (1 - area).clamp(min=0).sqrt()
    x, y = (draws[:, 0] * width).floor(), (draws[:, 1] * height).floor()
    half_x, half_y = (half * width).floor(), (half * height).floor()
    pasted = inside(images, x - half_x, x + half_x, y - half_y, y + half_y)
    kept = 1 - pasted.flatten(1).sum(1, dtype=images.dtype) / (height * width)
    return torch.where(pasted, others, images), kept
