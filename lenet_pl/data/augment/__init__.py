"""Random augmentation of whole batches, with independent parameters for each image.

All geometric transforms are composed into one map per image, so that each image is interpolated only once. The order is
geometry, colors, RandAugment or TrivialAugment, blur, noise, random erasing, cutout. `lenet_pl.data.mixing` has mixup
and CutMix, which need the labels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lenet_pl.data.augment.color import color_jitter, shift_hue
from lenet_pl.data.augment.erasing import cutout, random_erasing
from lenet_pl.data.augment.filters import add_noise, gaussian_blur
from lenet_pl.data.augment.geometry import elastic_displacement, inverse_affine, warp
from lenet_pl.data.augment.policies import apply_policy, rand_augment_ranges, trivial_augment_ranges
from lenet_pl.settings import AugmentSettings

# Columns of the random numbers that are drawn for each image
ANGLE, SCALE, ASPECT_RATIO, SHEAR = 0, 1, 2, 3
CROP = slice(4, 6)  # x, y
SHIFT = slice(6, 8)  # x, y
FLIP = 8
COLORS = slice(9, 12)  # brightness, contrast, saturation
NUM_DRAWS = 12


class Augment:
    """Random transforms of a batch.

    Args:
        settings: The strength of each transform, documented in `AugmentSettings`. `mixup` and `cutmix` are not used.
        background: The gray level in [0, 1] of pixels that come from outside the image.
        mean: The mean of the training images per channel in [0, 1], with which cutout fills; None for `background`.
    """

    def __init__(self, settings: AugmentSettings, background: float = 0.0, mean: Sequence[float] | None = None) -> None:
        self.settings = settings
        self.background = background
        self.mean = torch.tensor([background] if mean is None else list(mean))
        s = settings
        self._moves = any((s.degrees, s.translate, s.scale, s.aspect_ratio, s.shear, s.crop_padding, s.hflip))
        self._colors = any((s.brightness, s.contrast, s.saturation))
        self._operations = 1 if s.trivial_augment else s.rand_augment  # of RandAugment or TrivialAugment
        blur = s.gaussian_blur
        self._blur = (0.0, blur) if isinstance(blur, float) else (blur[0], blur[1])  # smallest and largest sigma, px

    @property
    def active(self) -> bool:
        """Whether at least one transform is enabled."""
        s = self.settings
        others = (s.elastic_alpha, s.hue, self._operations, self._blur[1], s.noise, s.random_erasing, s.cutout)
        return self._moves or self._colors or any(others)

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Transform a batch.

        Args:
            pixels: Images in [0, 1] of shape (B, C, H, W), of the default floating-point dtype and on any device. They
                are never overwritten.
            generator: The source of all random numbers, on the CPU, so that every device gets the same ones.

        Returns:
            The transformed images, of the same shape, dtype and device; `pixels` itself if no transform is enabled.
        """
        return self.apply(pixels, *self.draw(len(pixels), pixels.shape[1:], generator))

    def draw(self, count: int, shape: Sequence[int], generator: torch.Generator) -> list[Tensor]:
        """Draw the random numbers of some images on the CPU.

        Args:
            count: The number of images B.
            shape: Their channels, height and width.
            generator: The source of all random numbers, on the CPU.

        Returns:
            Tensors with a row for each image: (B, 12), and one more for each other transform that is enabled.
        """
        s = self.settings
        channels, height, width = shape

        def rand(*columns: int) -> Tensor:
            return torch.rand(count, *columns, generator=generator)

        draws = [rand(NUM_DRAWS)]
        if s.elastic_alpha > 0:
            draws.append(rand(2, height, width))
        if s.hue > 0:
            draws.append(rand())
        draws += [rand(3) for _ in range(self._operations)]
        if self._blur[1] > 0:
            draws.append(rand())
        if s.noise > 0:
            draws.append(torch.randn(count, channels, height, width, generator=generator))
        if s.random_erasing > 0:
            draws.append(rand(5 + channels))
        if s.cutout > 0:
            draws.append(rand(2))
        return draws

    def apply(self, pixels: Tensor, *draws: Tensor) -> Tensor:
        """Transform a batch with the numbers of `draw`; the rest as in a call."""
        s, size = self.settings, (pixels.shape[2], pixels.shape[3])
        numbers = iter(draws)

        def take() -> Tensor:
            return next(numbers).to(pixels.device)

        first, displacement = take(), None
        if s.elastic_alpha > 0:
            displacement = elastic_displacement(2 * take() - 1, s.elastic_alpha, s.elastic_sigma)
        if self._moves or displacement is not None:
            matrices = self.affine_matrices(first, *size) if self._moves else None
            pixels = warp(pixels, matrices, self.background, displacement)
        if self._colors:
            factors = 1 + (2 * first[:, COLORS] - 1) * pixels.new_tensor([s.brightness, s.contrast, s.saturation])
            pixels = color_jitter(pixels, *factors.unbind(1))
        if s.hue > 0:
            pixels = shift_hue(pixels, (2 * take() - 1) * s.hue)
        for _ in range(self._operations):
            ranges = trivial_augment_ranges(*size) if s.trivial_augment else rand_augment_ranges(*size)
            magnitude = None if s.trivial_augment else s.rand_augment_magnitude
            pixels = apply_policy(pixels, ranges, magnitude, next(numbers), self.background)
        if self._blur[1] > 0:
            low, high = self._blur
            pixels = gaussian_blur(pixels, low + (high - low) * take(), high)
        if s.noise > 0:
            pixels = add_noise(pixels, take(), s.noise)
        if s.random_erasing > 0:
            pixels = random_erasing(pixels, take(), s.random_erasing)
        if s.cutout > 0:
            pixels = cutout(pixels, take(), s.cutout, self.mean)
        return pixels

    def affine_matrices(self, draws: Tensor, height: int, width: int) -> Tensor:
        """Convert random numbers into affine maps from output to input px, relative to the image center.

        Args:
            draws: Numbers in [0, 1) of shape (B, N), with the columns named at the top of this module. N is at least 9,
                because the color columns are not used.
            height: The height of the images in px.
            width: The width of the images in px.

        Returns:
            Matrices of shape (B, 2, 3), with the dtype and device of `draws`.
        """
        s = self.settings
        sign = 2 * draws - 1
        angle = sign[:, ANGLE] * math.radians(s.degrees)
        scale = 1 + sign[:, SCALE] * s.scale
        squeeze = 1 + sign[:, ASPECT_RATIO] * s.aspect_ratio
        shear = torch.tan(sign[:, SHEAR] * math.radians(s.shear))
        crop = (draws[:, CROP] * (2 * s.crop_padding + 1)).floor() - s.crop_padding  # whole px
        shift = sign[:, SHIFT] * s.translate * draws.new_tensor([width, height]) + crop
        mirror = torch.where(draws[:, FLIP] < s.hflip, -1.0, 1.0)
        return inverse_affine(angle, shift, scale * squeeze * mirror, scale / squeeze, shear)


__all__ = ["Augment", "color_jitter", "inverse_affine", "random_erasing", "warp"]
