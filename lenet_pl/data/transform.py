"""Preprocessing of every image in training, inference and export: resizing and normalization."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.data.image_dataset import ImageDataset

BLOCK = 10_000  # images to process at once


class Preprocess(nn.Module):
    """Resizing of uint8 images to the input size of the model, and normalization to mean 0 and standard deviation 1.

    The same module serves training, inference and export. Its two steps are separate methods because augmentation
    happens between them.

    Args:
        image_size: The height and width of the model's input in px.
        fit: "pad" adds background on all sides and only shrinks larger images. "resize" always interpolates.
        mean: The mean per channel of pixels scaled to [0, 1].
        std: The standard deviation per channel of pixels scaled to [0, 1].
        background: The gray level of the padding, from 0 to 255.
    """

    shift: Tensor
    factor: Tensor

    def __init__(
        self, image_size: int, fit: str, mean: Sequence[float], std: Sequence[float], background: int = 0
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.fit = fit
        self.background = background / 255
        self.mean, self.std = list(mean), list(std)
        self.register_buffer("shift", torch.tensor(self.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("factor", 1 / torch.tensor(self.std).view(1, -1, 1, 1), persistent=False)

    def resize(self, images: Tensor) -> Tensor:
        """Convert uint8 of shape (B, C, h, w) to float in [0, 1] of shape (B, C, H, W)."""
        pixels = images.float().mul_(1 / 255)
        height, width = images.shape[2:]
        size = self.image_size
        if (height, width) == (size, size):
            return pixels
        if self.fit == "pad" and height <= size and width <= size:
            return self.pad(pixels, height, width)
        return functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=True)

    def pad(self, pixels: Tensor, height: int, width: int) -> Tensor:
        """Add background around float images of shape (B, C, height, width)."""
        left, top = (self.image_size - width) // 2, (self.image_size - height) // 2
        edges = (left, self.image_size - width - left, top, self.image_size - height - top)
        return functional.pad(pixels, edges, value=self.background)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalize float images of shape (B, C, H, W) in [0, 1].

        The result is in channels-last memory format, which is faster for convolutions.
        """
        return ((pixels - self.shift) * self.factor).contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Convert uint8 of shape (B, C, h, w) to normalized float of shape (B, C, H, W)."""
        return self.normalize(self.resize(images))


def pixel_statistics(images: ImageDataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the exact mean and standard deviation per channel of pixels scaled to [0, 1].

    Images are read block by block. A standard deviation of 0 is returned as 1.
    """
    channels = images.array.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for start in range(0, len(images), BLOCK):
        block = images[slice(start, start + BLOCK)].images
        for channel in range(channels):
            counts[channel] += torch.bincount(block[:, channel].flatten(), minlength=256)
    frequencies = counts / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = frequencies @ levels
    std = (frequencies * (levels - mean[:, None]) ** 2).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(value or 1.0 for value in std.tolist())
