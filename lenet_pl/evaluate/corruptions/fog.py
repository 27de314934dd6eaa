"""Fog: a plasma fractal over the image."""

import torch
from torch import Generator, Tensor

MAPS = 50  # at a time; those of 28 px take 256 kB each


def fog(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add a cloud to each image, and scale the sum to the image's range."""
    strength, decay = ((1.5, 2), (2.0, 2), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[severity - 1]
    height, width = pixels.shape[2:]
    side = 1 << (8 * max(height, width) - 1).bit_length()  # 256 for 28 px
    counts = [min(MAPS, len(pixels) - start) for start in range(0, len(pixels), MAPS)]
    clouds = torch.cat([plasma(count, side, decay, generator)[:, None, :height, :width] for count in counts])
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    return ((pixels + strength * clouds) * brightest / (brightest + strength)).clamp_(0, 1)


def plasma(count: int, side: int, decay: float, generator: Generator) -> Tensor:
    """Generate height maps by the diamond-square algorithm, on a torus.

    Args:
        count: The number of maps.
        side: The number of rows and columns, a power of two.
        decay: The divisor of the random part after each halving of the step.
        generator: The source of random numbers.

    Returns:
        Heights from 0 to 1, of shape (count, side, side).
    """
    heights = torch.zeros(count, side, side)
    step, amplitude = side, 100.0

    def mean(total: Tensor) -> Tensor:
        # The amplitude counts twice, as in the code of MNIST-C
        return total / 4 + amplitude**2 * (2 * torch.rand(total.shape, generator=generator) - 1)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        above = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = mean(above + above.roll(-1, 2))
        centers = heights[:, half::step, half::step]
        heights[:, ::step, half::step] = mean(centers + centers.roll(1, 1) + corners + corners.roll(-1, 2))
        heights[:, half::step, ::step] = mean(centers + centers.roll(1, 2) + corners + corners.roll(-1, 1))
        step, amplitude = half, amplitude / decay
    heights -= heights.amin((1, 2), keepdim=True)
    return heights / heights.amax((1, 2), keepdim=True)
