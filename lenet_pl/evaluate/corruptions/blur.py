"""Blur by frosted glass, and by motion."""

import math

import torch
from torch import Generator, Tensor

from lenet_pl.data.augment.filters import gaussian_blur


def glass_blur(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Blur, exchange pixels with neighbors at random, and blur again."""
    sigma, reach, rounds = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[severity - 1]
    count, _, height, width = pixels.shape
    sigma, reach = sigma * height / 28, max(1, round(reach * height / 28))
    sigmas = pixels.new_full((count,), sigma)
    shuffled = gaussian_blur(pixels, sigmas, sigma)
    image = torch.arange(count)
    for _ in range(rounds):
        for row in range(height - reach, reach, -1):
            for column in range(width - reach, reach, -1):
                moves = torch.randint(-reach, reach, (2, count), generator=generator)
                moves *= torch.rand(count, generator=generator) < 0.5
                other_row, other_column = row + moves[0], column + moves[1]
                here = shuffled[:, :, row, column].clone()
                shuffled[:, :, row, column] = shuffled[image, :, other_row, other_column]
                shuffled[image, :, other_row, other_column] = here
    return gaussian_blur(shuffled, sigmas, sigma)


def motion_blur(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Smear each image in a direction within 45 degrees of the horizontal.

    The kernel is ImageMagick's: half a Gaussian, on the pixels nearest to a line; outside, the edge is repeated.
    """
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    count, channels, height, width = pixels.shape
    unit = height / 28
    distances = torch.arange(2 * math.ceil(radius * unit) + 1)
    weights = torch.exp(-0.5 * (distances / (sigma * unit)) ** 2)
    angle = (torch.rand(count, generator=generator) * 2 - 1) * math.pi / 4
    smeared = torch.zeros_like(pixels)
    for distance, weight in zip(distances, weights / weights.sum(), strict=True):
        down, right = (torch.ceil(distance * part - 0.5).long() for part in (angle.sin(), angle.cos()))
        rows = (torch.arange(height) + down[:, None]).clamp(0, height - 1)
        columns = (torch.arange(width) + right[:, None]).clamp(0, width - 1)
        places = (rows[:, :, None] * width + columns[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
        smeared += weight * pixels.flatten(2).gather(2, places).view_as(pixels)
    return smeared
