"""Random augmentation of whole batches, with independent parameters for each image.

All geometric transforms are composed into one matrix per image, so that each image is interpolated only once.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.settings import AugmentSettings

# Columns of the random numbers that are drawn for each image
ANGLE, SCALE, ASPECT_RATIO, SHEAR = 0, 1, 2, 3
CROP = slice(4, 6)  # x, y
SHIFT = slice(6, 8)  # x, y
FLIP = 8
COLORS = slice(9, 12)  # brightness, contrast, saturation
NUM_DRAWS = 12


class Augment:
    """Random geometric transforms, color jitter and random erasing of a batch.

    Args:
        settings: The strength of each transform, documented in `AugmentSettings`.
        background: The gray level in [0, 1] of pixels that come from outside the image.
    """

    def __init__(self, settings: AugmentSettings, background: float = 0.0) -> None:
        self.settings = settings
        self.background = background
        s = settings
        self._moves = any((s.degrees, s.translate, s.scale, s.aspect_ratio, s.shear, s.crop_padding, s.hflip))
        self._colors = any((s.brightness, s.contrast, s.saturation))

    @property
    def active(self) -> bool:
        """Whether at least one transform is enabled."""
        return self._moves or self._colors or self.settings.random_erasing > 0

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Transform a batch.

        Args:
            pixels: Images in [0, 1] of shape (B, C, H, W), of the default floating-point dtype and on any device. They
                are never overwritten.
            generator: The source of all random numbers, on the CPU, so that every device gets the same ones.

        Returns:
            The transformed images, of the same shape, dtype and device; `pixels` itself if no transform is enabled.
        """
        return self.apply(pixels, *self.draw(len(pixels), pixels.shape[1], generator))

    def draw(self, count: int, channels: int, generator: torch.Generator) -> list[Tensor]:
        """Draw the random numbers of some images on the CPU.

        Args:
            count: The number of images B.
            channels: The number of channels C.
            generator: The source of all random numbers, on the CPU.

        Returns:
            Numbers in [0, 1) with a row for each image, (B, 12), and (B, 5 + C) if random erasing is enabled.
        """
        erasing = [5 + channels] * (self.settings.random_erasing > 0)
        return [torch.rand(count, columns, generator=generator) for columns in (NUM_DRAWS, *erasing)]

    def apply(self, pixels: Tensor, draws: Tensor, erasing: Tensor | None = None) -> Tensor:
        """Transform a batch with the numbers of `draw`; the rest as in a call."""
        draws = draws.to(pixels.device)
        if self._moves:
            matrices = self.affine_matrices(draws, pixels.shape[2], pixels.shape[3])
            pixels = warp(pixels, matrices, self.background)
        if self._colors:
            s = self.settings
            factors = 1 + (2 * draws[:, COLORS] - 1) * pixels.new_tensor([s.brightness, s.contrast, s.saturation])
            pixels = color_jitter(pixels, *factors.unbind(1))
        if erasing is not None:
            pixels = random_erasing(pixels, erasing.to(pixels.device), self.settings.random_erasing)
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


def inverse_affine(angle: Tensor, shift: Tensor, scale_x: Tensor, scale_y: Tensor, shear: Tensor) -> Tensor:
    """Invert the transform "scale, shear horizontally, rotate, shift" about the image center.

    Args:
        angle: The clockwise rotation in radians, of shape (B,).
        shift: The shift to the right and down in px, of shape (B, 2).
        scale_x: The horizontal factor, of shape (B,). A negative one mirrors.
        scale_y: The vertical factor, of shape (B,).
        shear: The shift to the right per px down, of shape (B,).

    Returns:
        Matrices of shape (B, 2, 3), with input px = matrix · (output px, 1).
    """
    cos, sin = angle.cos(), angle.sin()
    # Closed-form inverse of rotation · shear · scale
    a = torch.stack([cos + shear * sin, sin - shear * cos], 1) / scale_x[:, None]
    b = torch.stack([-sin, cos], 1) / scale_y[:, None]
    linear = torch.stack([a, b], 1)  # (B, 2, 2)
    return torch.cat([linear, -linear @ shift[:, :, None]], 2)


def warp(pixels: Tensor, matrices: Tensor, background: float = 0.0) -> Tensor:
    """Resample images with bilinear interpolation.

    Args:
        pixels: Images of shape (B, C, H, W), floating point. They are not overwritten.
        matrices: Affine maps of shape (B, 2, 3) from output to input px, relative to the image center.
        background: The value of pixels outside the image.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.
    """
    height, width = pixels.shape[2:]
    size = pixels.new_tensor([width, height])
    # grid_sample uses coordinates from -1 to 1 along each side
    theta = torch.cat([matrices[:, :, :2] * size / size[:, None], matrices[:, :, 2:] * 2 / size[:, None]], 2)
    theta = theta.to(pixels.dtype)  # the matrices are float64 if that is the default dtype
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    if background == 0:
        return functional.grid_sample(pixels, grid, align_corners=False)
    return functional.grid_sample(pixels - background, grid, align_corners=False) + background


def color_jitter(pixels: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Scale brightness, then contrast about the mean gray of the image, then saturation about the gray of each pixel.

    A factor of 1 leaves the image unchanged. Grayscale images have no saturation.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        brightness: The brightness factor, of shape (B,).
        contrast: The contrast factor, of shape (B,).
        saturation: The saturation factor, of shape (B,).

    Returns:
        A new tensor of the same shape and device, clamped to [0, 1].
    """
    b, c, s = (factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    pixels = (pixels * b).clamp_(0, 1)
    middle = _gray(pixels).mean((1, 2, 3), keepdim=True)
    pixels = torch.lerp(middle, pixels, c).clamp_(0, 1)
    return pixels if pixels.shape[1] == 1 else torch.lerp(_gray(pixels), pixels, s).clamp_(0, 1)


def random_erasing(pixels: Tensor, draws: Tensor, probability: float) -> Tensor:
    """Fill a rectangle of a random color in some of the images.

    The rectangle covers 2 to 33% of the image, with an aspect ratio of 0.3 to 1/0.3. Its sides are clipped to those of
    the image.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        draws: Numbers in [0, 1) of shape (B, 5 + C): whether to erase, area, aspect ratio, left, top and the color.
        probability: The fraction of images to erase from.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.

    Source: Zhong et al. 2020, "Random erasing data augmentation", section 3.2, with the bounds of torchvision.
    """
    height, width = pixels.shape[2:]
    area = (0.02 + 0.31 * draws[:, 1]) * (height * width)
    ratio = torch.exp((2 * draws[:, 2] - 1) * math.log(1 / 0.3))  # height to width
    high = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    left, top = (draws[:, 3] * (width - wide + 1)).floor(), (draws[:, 4] * (height - high + 1)).floor()
    x, y = torch.arange(width, device=pixels.device), torch.arange(height, device=pixels.device)
    across = (x >= left[:, None]) & (x < (left + wide)[:, None])  # (B, W)
    down = (y >= top[:, None]) & (y < (top + high)[:, None])  # (B, H)
    erased = down[:, None, :, None] & across[:, None, None, :] & (draws[:, 0] < probability).view(-1, 1, 1, 1)
    return torch.where(erased, draws[:, 5:, None, None].to(pixels.dtype), pixels)


def _gray(pixels: Tensor) -> Tensor:
    """Convert (B, C, H, W) to gray with the weights of ITU-R BT.601, of shape (B, 1, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
