"""Lines across the image. Coordinates are in px of a 28×28 image: column and row, from 0 to 27."""

import itertools

import torch
from torch import Generator, Tensor

LAST = 27.0
REACH = 2.3  # px from a line at which it has faded
DOT = 2  # px


def dotted_line(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Draw as many dotted lines from left to right as the severity; the published images have one."""
    shape, columns = (severity, len(pixels)), _grid(pixels)[1]
    starts, ends = (torch.randint(0, 27, shape, generator=generator).float() for _ in range(2))
    dots = (columns // DOT) % 2 == 1
    for start, end in zip(starts, ends, strict=True):
        pixels = (pixels + (draw_line(pixels, 0.0, start, LAST, end) * dots)[:, None]).clamp(max=1)
    return pixels


def zigzag(pixels: Tensor, severity: int, generator: Generator) -> Tensor:
    """Draw as many zigzag lines from left to right as the severity; the published images have one."""
    left, right, size = 2.0, 25.0, 2.0  # size: half the length of a period, and its height
    for _ in range(severity):
        start = torch.randint(0, 27, (len(pixels),), generator=generator).float()
        slope = torch.randint(-5, 5, (len(pixels),), generator=generator) / (right - left)
        cos = 1 / (1 + slope**2).sqrt()
        sin = slope * cos
        length = (right - left) / cos
        turns = int(((right - left) - size) // (2 * size)) + 1
        rest = length - 2 * size * (length // (2 * size))
        along = [torch.zeros_like(length), *(torch.full_like(length, (2 * i + 1) * size) for i in range(turns)), length]
        across = [torch.zeros_like(length), *(torch.full_like(length, (-1) ** i * size) for i in range(turns))]
        across.append((-1) ** (turns - 1) * size / (2 * rest))
        points = [(left + cos * a - sin * b, start + sin * a + cos * b) for a, b in zip(along, across, strict=True)]
        for (c0, r0), (c1, r1) in itertools.pairwise(points):
            pixels = (pixels + draw_line(pixels, c0, r0, c1, r1)[:, None]).clamp(max=1)
    return pixels


def draw_line(pixels: Tensor, c0: Tensor | float, r0: Tensor, c1: Tensor | float, r1: Tensor) -> Tensor:
    """Draw a line from column c0 and row r0 to c1 and r1 in each image, which fades with the vertical distance.

    Args:
        pixels: Images of shape (B, C, H, W), which give the size.
        c0: The first column, a number or of shape (B,).
        r0: The row there, of shape (B,).
        c1: The column where the line ends.
        r1: The row there.

    Returns:
        Brightness from 0 to 1, of shape (B, H, W).
    """
    c0, c1 = (torch.as_tensor(c).expand_as(r0)[:, None, None] for c in (c0, c1))
    rows, columns = _grid(pixels)
    width = c1 - c0
    slope = (r1 - r0)[:, None, None] / torch.where(width == 0, 1.0, width)
    distance = (rows - (slope * (columns - c0) + r0[:, None, None])).abs().clamp_(max=REACH - 1e-6)
    inside = (columns >= c0.floor()) & (columns < c1.ceil()) & (width != 0)
    return (torch.log1p(-distance / REACH) + 1).clamp_(0, 1) * inside


def _grid(pixels: Tensor) -> tuple[Tensor, Tensor]:
    height, width = pixels.shape[2:]
    return torch.linspace(0, LAST, height)[:, None], torch.linspace(0, LAST, width)
