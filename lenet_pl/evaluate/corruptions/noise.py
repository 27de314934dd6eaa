"""Noise and drops of mud."""

import torch
from torch import Generator, Tensor

from lenet_pl.data.augment.filters import gaussian_blur

MUD = 63 / 255  # gray level


def shot_noise(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Draw each pixel from a Poisson distribution, as if few photons had arrived."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return (torch.poisson(pixels * photons, generator=generator) / photons).clamp_(max=1)


def impulse_noise(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Make some values white and as many black: salt and pepper."""
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    draws = torch.rand(pixels.shape, generator=generator)
    return torch.where(draws < amount, (draws < amount / 2).to(pixels.dtype), pixels)


def spatter(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Cover the image with drops of mud."""
    mean, std, size, threshold, edge = (
        (0.65, 0.3, 4, 0.69, 0.6),
        (0.65, 0.3, 3, 0.68, 0.6),
        (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5),
        (0.67, 0.4, 1, 0.65, 1.5),
    )[severity - 1]
    height, width = pixels.shape[2:]
    unit = height / 28
    layer = mean + std * torch.randn(len(pixels), 1, height, width, generator=generator)
    drops = (_blur(layer, size * unit) > threshold).to(pixels.dtype)
    cover = _blur(drops, edge * unit)
    cover = torch.where(cover < 0.8, 0, cover)
    return pixels * (1 - cover) + MUD * cover


def _blur(pixels: Tensor, sigma: float) -> Tensor:
    return gaussian_blur(pixels, pixels.new_full((len(pixels),), sigma), sigma)
