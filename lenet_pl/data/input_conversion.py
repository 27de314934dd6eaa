"""Conversion of the input of one network to that of another, whose images are resized and normalized differently."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.data.transform import Preprocess


class InputConversion(nn.Module):
    """The input that a network would get for images that are preprocessed, and perhaps augmented, for another one.

    The normalization of the other network is undone. The part of its input that has the image, without padding, is
    brought to the size that the image has in the input of the network, with antialiasing, and padded. Without
    augmentation the result is that of the network's own preprocessing, but for rounding, if neither of the two
    interpolates the stored images, or both do so to the same size.

    Args:
        source: The preprocessing of the given input.
        source_side: The height and width in px of the stored images behind the given input.
        target: The preprocessing of the network.
        target_side: The height and width in px of the stored images with which the network was trained.

    Attributes:
        given: The height and width of an image in the given input, without padding, px.
        wanted: The same for the network, px.
        enlarges: Whether an image has less detail than the network was trained with.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: Preprocess, source_side: int, target: Preprocess, target_side: int) -> None:
        super().__init__()
        self.target = copy.deepcopy(target)  # its buffers move to another device
        self.given, self.wanted = image_side(source, source_side), image_side(target, target_side)
        self.enlarges = source_side >= self.given < self.wanted
        self.keeps_pixels = self.given == self.wanted and source.image_size == target.image_size
        self.keeps_levels = source.mean == target.mean and source.std == target.std
        self.register_buffer("mean", torch.tensor(source.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(source.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Convert normalized images, float (B, C, S, S), to float32 (B, C, T, T)."""
        if self.keeps_pixels and self.keeps_levels:
            return images.to(self.std.dtype)
        pixels = images.to(self.std.dtype) * self.std + self.mean
        return self.target.normalize(pixels if self.keeps_pixels else self._resize(pixels))

    def _resize(self, pixels: Tensor) -> Tensor:
        if self.given != self.wanted:
            size = (self.wanted, self.wanted)
            pixels = functional.interpolate(
                self._center(pixels, self.given), size, mode="bilinear", align_corners=False, antialias=True
            )
        return self._center(pixels, self.target.image_size)

    def _center(self, pixels: Tensor, side: int) -> Tensor:
        """Crop the center of square images, or pad them with background."""
        before = int((side - pixels.shape[-1]) / 2)  # as `Preprocess.pad`, or its inverse: negative values crop
        after = side - pixels.shape[-1] - before
        return functional.pad(pixels, (before, after, before, after), value=self.target.background)


def image_side(preprocess: Preprocess, side: int) -> int:
    """Return the height and width in px of an image in the network's input, without padding.

    Args:
        preprocess: The preprocessing of the network.
        side: The height and width of the stored image, px.
    """
    pads = preprocess.fit == "pad" and side <= preprocess.image_size
    return side if pads else preprocess.image_size
