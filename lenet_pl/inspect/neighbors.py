"""The most similar other image of each image.

Images are compared as thumbnails, centered at their content and normalized to mean 0 and norm 1. The dot product of two
thumbnails is then their correlation, which neither brightness nor contrast changes, and a shift changes little.
"""

import sys
from dataclasses import dataclass

import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from lenet_pl.inspect.images import AllImages

THUMBNAIL = 14  # px, height and width
ROWS = 2000  # images in a block of the correlation matrix
SHIFT_FRACTION = 14  # the largest shift is this part of the image: 2 px of 28
PAIRS = 4096  # pairs to align at once


@dataclass(frozen=True)
class Neighbors:
    """The most similar other image of each of N images.

    Attributes:
        index: Its number, int64 (N,).
        similarity: The correlation of the two thumbnails, float (N,).
    """

    index: Tensor
    similarity: Tensor


def thumbnails(images: AllImages) -> Tensor:
    """Shrink, center and normalize all images, float (N, D). An image of one level becomes zeros."""
    height, width = images.shape[1:]
    size = (min(THUMBNAIL, height), min(THUMBNAIL, width))
    found = torch.empty(len(images), size[0] * size[1])
    for rows, pixels in images.blocks():
        small = functional.adaptive_avg_pool2d(_centered(pixels.float().mean(1, keepdim=True)), size)
        found[rows] = _normalized(small)
    return found


def nearest_neighbors(vectors: Tensor) -> Neighbors:
    """Find the other vector with the largest dot product, for each of N vectors, float (N, D).

    The correlation matrix is symmetric, so only the blocks on and above its diagonal are computed. It is never stored
    as a whole.
    """
    count = len(vectors)
    best, index = torch.full((count,), -2.0), torch.zeros(count, dtype=torch.int64)
    starts = range(0, count, ROWS)
    for first in track(starts, "comparing images", disable=len(starts) < 5 or not sys.stdout.isatty(), transient=True):
        for second in range(first, count, ROWS):
            block = vectors[first : first + ROWS] @ vectors[second : second + ROWS].T
            if first == second:
                block.fill_diagonal_(-2.0)
            for start, other, values in ((first, second, block.max(1)), (second, first, block.max(0))):
                rows = slice(start, start + len(values.values))
                better = values.values > best[rows]
                best[rows] = torch.where(better, values.values, best[rows])
                index[rows] = torch.where(better, values.indices + other, index[rows])
    return Neighbors(index, best)


def distinct_neighbors(vectors: Tensor, digests: Tensor) -> Neighbors:
    """Find the most similar image of each image among those with other pixels.

    Args:
        vectors: The thumbnail of each image, float (N, D).
        digests: The digest of the pixels of each image, int64 (N,).
    """
    values, rows = torch.unique(digests, return_inverse=True)
    first = torch.full((len(values),), len(digests)).scatter_reduce(0, rows, torch.arange(len(digests)), "amin")
    found = nearest_neighbors(vectors[first])
    return Neighbors(first[found.index][rows], found.similarity[rows])


def aligned_correlation(images: AllImages, first: Tensor, second: Tensor) -> Tensor:
    """Correlate pairs of images at full resolution, at the best of all small shifts of one against the other.

    Args:
        images: All images.
        first: The number of one image of each pair, int64 (M,).
        second: The number of the other image, int64 (M,).

    Returns:
        The correlation over the pixels that both images have, all channels together, float (M,).
    """
    found = [
        _align(images.take(one).float(), images.take(other).float())
        for one, other in zip(torch.split(first, PAIRS), torch.split(second, PAIRS), strict=True)
    ]
    return torch.cat(found)


def _align(one: Tensor, other: Tensor) -> Tensor:
    height, width = one.shape[2:]
    best = torch.full((len(one),), -1.0)
    for down in range(-(height // SHIFT_FRACTION), height // SHIFT_FRACTION + 1):
        for right in range(-(width // SHIFT_FRACTION), width // SHIFT_FRACTION + 1):
            shifted = _normalized(_shared(one, down, right)) * _normalized(_shared(other, -down, -right))
            best = torch.maximum(best, shifted.sum(1))
    return best


def _shared(images: Tensor, down: int, right: int) -> Tensor:
    """Crop what is left of images after a shift."""
    height, width = images.shape[2:]
    return images[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]


def _normalized(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return functional.normalize(flat - flat.mean(1, keepdim=True))


def _centered(gray: Tensor) -> Tensor:
    """Move the center of what differs from the border's median level into the middle of each image (B, 1, H, W)."""
    height, width = gray.shape[2:]
    edge = torch.cat([gray[:, 0, 0], gray[:, 0, -1], gray[:, 0, :, 0], gray[:, 0, :, -1]], 1).median(1).values
    weight = (gray[:, 0] - edge[:, None, None]).abs() + 1e-3  # an empty image stays where it is
    shift = torch.eye(2, 3).repeat(len(gray), 1, 1)
    for axis, size in ((1, height), (0, width)):
        places = torch.linspace(1 / size - 1, 1 - 1 / size, size)
        shift[:, axis, 2] = (weight.sum(axis + 1) * places).sum(1) / weight.sum((1, 2))
    grid = functional.affine_grid(shift, list(gray.shape), align_corners=False)
    return functional.grid_sample(gray, grid, padding_mode="border", align_corners=False)
