"""Affine corruptions about the center of the image. What comes from outside is black, or the darkest value."""

import torch
from torch import Generator, Tensor

from lenet_pl.data.augment.geometry import warp


def shear(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Shear to the left or right, as scikit-image's AffineTransform did until 0.18."""
    angles = severity / 5 * _signs(len(pixels), generator)
    one, zero = torch.ones_like(angles), torch.zeros_like(angles)
    return _warp(pixels, one, -angles.sin(), zero, angles.cos())


def rotate(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Rotate by a fifth of a radian per severity, in either direction."""
    angles = severity / 5 * _signs(len(pixels), generator)
    return _warp(pixels, angles.cos(), -angles.sin(), angles.sin(), angles.cos())


def scale(pixels: Tensor, severity: int, _: Generator) -> Tensor:
    """Make the object smaller, by a tenth per severity."""
    factor = torch.full((len(pixels),), 1 / (1 - severity / 10))
    zero = torch.zeros_like(factor)
    return _warp(pixels, factor, zero, zero, factor)


def translate(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Move by a pixel per severity along both axes."""
    distance = severity * pixels.shape[2] / 28
    moves = distance * torch.stack([_signs(len(pixels), generator), _signs(len(pixels), generator)], 1)
    linear = torch.eye(2).expand(len(pixels), 2, 2)
    return warp(pixels, torch.cat([linear, moves[:, :, None]], 2))


def _signs(count: int, generator: Generator) -> Tensor:
    return torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1


def _warp(pixels: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Take the pixel at (x, y) from (a x + b y, c x + d y)."""
    zero = torch.zeros_like(a)
    return warp(pixels, torch.stack([torch.stack([a, b, zero], 1), torch.stack([c, d, zero], 1)], 1))
