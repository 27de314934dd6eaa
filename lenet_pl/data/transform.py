"""What is done to every image, trained on or not: to the model's size and to normalised numbers."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.data.image_set import ImageSet

BLOCK = 10_000  # images whose levels are counted at once


class ModelInput:
    """Bring uint8 images to the model's size, and then to mean 0 and standard deviation 1.

    The two steps are apart because augmentation happens between them.

    Args:
        image_size: px, height and width that the model wants.
        fit: "pad" adds background on all sides (larger images are made smaller); "resize" always stretches.
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        background: grey level 0 to 255 that padding adds.
    """

    def __init__(
        self, image_size: int, fit: str, mean: Sequence[float], std: Sequence[float], background: int = 0
    ) -> None:
        self.image_size = image_size
        self.fit = fit
        self.background = background / 255
        self.mean, self.std = list(mean), list(std)
        self._shift = torch.tensor(self.mean).view(1, -1, 1, 1)
        self._factor = 1 / torch.tensor(self.std).view(1, -1, 1, 1)

    def to(self, device: torch.device) -> "ModelInput":
        self._shift, self._factor = self._shift.to(device), self._factor.to(device)
        return self

    def to_size(self, images: Tensor) -> Tensor:
        """uint8 (B, C, h, w) → float (B, C, H, W) in [0, 1]."""
        height, width = images.shape[2:]
        size = self.image_size
        pixels = images.float().mul_(1 / 255)
        if (height, width) == (size, size):
            return pixels
        if self.fit == "pad" and height <= size and width <= size:
            left, top = (size - width) // 2, (size - height) // 2
            edges = (left, size - width - left, top, size - height - top)
            return functional.pad(pixels, edges, value=self.background)
        return functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=True)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Float (B, C, H, W) in [0, 1] → normalised, channels last in memory, which convolutions read faster."""
        return ((pixels - self._shift) * self._factor).contiguous(memory_format=torch.channels_last)

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, C, h, w) → normalised float (B, C, H, W)."""
        return self.normalise(self.to_size(images))


def pixel_statistics(images: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation per channel of pixels scaled to [0, 1], exactly, a block at a time."""
    channels = images.array.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for start in range(0, len(images), BLOCK):
        block = images[slice(start, start + BLOCK)].images
        for channel in range(channels):
            counts[channel] += torch.bincount(block[:, channel].flatten(), minlength=256)
    shares = counts / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = shares @ levels
    std = (shares * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(value or 1.0 for value in std.tolist())
