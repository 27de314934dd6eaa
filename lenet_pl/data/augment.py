"""Random transforms of whole batches, with parameters of its own for each image.

All geometric ones are one matrix per image and one interpolation, so that strengths add up without blurring twice.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.settings import AugmentSettings


class Augment:
    """Draw parameters, then transform. Strengths are documented in `AugmentSettings`.

    Args:
        settings: strengths.
        background: grey level in [0, 1] that comes in from outside the image.
    """

    def __init__(self, settings: AugmentSettings, background: float = 0.0) -> None:
        self.settings = settings
        self.background = background
        s = settings
        self._moves = any((s.rotation, s.translation, s.scale, s.squeeze, s.shear, s.crop_padding, s.flip))
        self._colours = any((s.brightness, s.contrast, s.saturation))

    @property
    def active(self) -> bool:
        """Whether anything is done at all."""
        return self._moves or self._colours or self.settings.erasing > 0

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Float (B, C, H, W) in [0, 1] → the same, transformed. `generator` is on the CPU."""
        # One row of numbers per image, drawn on the CPU so that every device sees the same ones.
        draws = torch.rand(len(pixels), 12, generator=generator).to(pixels.device)
        if self._moves:
            matrices = self.matrices(draws[:, :9], pixels.shape[2], pixels.shape[3])
            pixels = warp(pixels, matrices, self.background)
        if self._colours:
            s = self.settings
            factors = 1 + (2 * draws[:, 9:] - 1) * pixels.new_tensor([s.brightness, s.contrast, s.saturation])
            pixels = jitter(pixels, *factors.unbind(1))
        if self.settings.erasing > 0:
            draws = torch.rand(len(pixels), 5 + pixels.shape[1], generator=generator).to(pixels.device)
            pixels = erase(pixels, draws, self.settings.erasing)
        return pixels

    def matrices(self, draws: Tensor, height: int, width: int) -> Tensor:
        """Turn numbers in [0, 1) of shape (B, 9) into maps (B, 2, 3) from output px to input px about the centre."""
        s = self.settings
        sign = 2 * draws - 1
        angle = sign[:, 0] * math.radians(s.rotation)
        scale = 1 + sign[:, 1] * s.scale
        squeeze = 1 + sign[:, 2] * s.squeeze
        shear = torch.tan(sign[:, 3] * math.radians(s.shear))
        crop = (draws[:, 4:6] * (2 * s.crop_padding + 1)).floor() - s.crop_padding  # whole px
        shift = sign[:, 6:8] * s.translation * draws.new_tensor([width, height]) + crop
        mirror = torch.where(draws[:, 8] < s.flip, -1.0, 1.0)
        return inverse_affine(angle, shift, scale * squeeze * mirror, scale / squeeze, shear)


def inverse_affine(angle: Tensor, shift: Tensor, scale_x: Tensor, scale_y: Tensor, shear: Tensor) -> Tensor:
    """Invert "scale, shear horizontally, rotate, shift", all about the centre.

    Args:
        angle: (B,) radians, clockwise on the screen.
        shift: (B, 2) px, right and down.
        scale_x: (B,) factor; negative mirrors.
        scale_y: (B,) factor.
        shear: (B,) px to the right per px down.

    Returns:
        (B, 2, 3): input px = matrix · (output px, 1).
    """
    cos, sin = angle.cos(), angle.sin()
    # forward = rotation · shear · scale; its inverse is written out
    a = torch.stack([cos + shear * sin, sin - shear * cos], 1) / scale_x[:, None]
    b = torch.stack([-sin, cos], 1) / scale_y[:, None]
    linear = torch.stack([a, b], 1)  # (B, 2, 2)
    return torch.cat([linear, -linear @ shift[:, :, None]], 2)


def warp(pixels: Tensor, matrices: Tensor, background: float = 0.0) -> Tensor:
    """Resample images bilinearly.

    Args:
        pixels: float (B, C, H, W).
        matrices: (B, 2, 3) from output px to input px about the centre.
        background: value of all that lies outside.
    """
    height, width = pixels.shape[2:]
    size = pixels.new_tensor([width, height])
    # grid_sample counts from -1 to 1 over the side
    theta = torch.cat([matrices[:, :, :2] * size / size[:, None], matrices[:, :, 2:] * 2 / size[:, None]], 2)
    theta = theta.to(pixels.dtype)  # drawn in double precision where that is the default
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    if background == 0:
        return functional.grid_sample(pixels, grid, align_corners=False)
    return functional.grid_sample(pixels - background, grid, align_corners=False) + background


def jitter(pixels: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Change brightness, then contrast about the image's mean grey, then saturation about each pixel's grey.

    Args:
        pixels: float (B, C, H, W) in [0, 1].
        brightness: (B,) factor; 1 changes nothing, here and below.
        contrast: (B,) factor.
        saturation: (B,) factor.
    """
    b, c, s = (factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    pixels = (pixels * b).clamp_(0, 1)
    middle = _grey(pixels).mean((1, 2, 3), keepdim=True)
    pixels = torch.lerp(middle, pixels, c).clamp_(0, 1)
    return pixels if pixels.shape[1] == 1 else torch.lerp(_grey(pixels), pixels, s).clamp_(0, 1)


def erase(pixels: Tensor, draws: Tensor, probability: float) -> Tensor:
    """Paint a rectangle of one random colour over some images: 2 to 33% of the area, sides 0.3 to 1/0.3 to each other.

    Where such a rectangle would be higher or wider than the image, it is as high or wide as that.

    Args:
        pixels: float (B, C, H, W) in [0, 1].
        draws: (B, 5 + C) numbers in [0, 1): whether, how large, of what shape, how far right and down, the colour.
        probability: share of the images that are painted on.

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
    painted = down[:, None, :, None] & across[:, None, None, :] & (draws[:, 0] < probability).view(-1, 1, 1, 1)
    return torch.where(painted, draws[:, 5:, None, None].to(pixels.dtype), pixels)


def _grey(pixels: Tensor) -> Tensor:
    """Weigh red, green and blue as ITU-R BT.601 does; (B, C, H, W) → (B, 1, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
