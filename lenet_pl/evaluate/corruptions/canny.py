"""Edges instead of the image.

Source: Canny 1986, "A computational approach to edge detection", as scikit-image's `feature.canny` has it.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional

from lenet_pl.data.augment.filters import gaussian_kernel, smoothing_matrix

SIGMA, LOW, HIGH = 1.0, 0.1, 0.2  # px, and thresholds of the gradient


def canny_edges(pixels: Tensor, severity: int, _: Generator) -> Tensor:
    """Mix the image with its edges: a fifth of them per severity; the published images are the edges alone."""
    edges = find_edges(pixels.mean(1))[:, None].to(pixels.dtype)
    return torch.lerp(pixels, edges.expand_as(pixels), severity / 5)


def find_edges(images: Tensor) -> Tensor:
    """Find edges: smooth, take the gradient, keep its ridges, and follow them from strong to weak pixels.

    Args:
        images: Gray images in [0, 1], of shape (B, H, W).

    Returns:
        Whether each pixel is on an edge, of shape (B, H, W).
    """
    height, width = images.shape[1:]
    rows, columns = (_smoothing(side) for side in (height, width))
    smooth = rows @ images @ columns.mT
    padded = functional.pad(smooth[:, None], (1, 1, 1, 1), "replicate")
    sobel = images.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    right, down = functional.conv2d(padded, torch.stack([sobel, sobel.T])[:, None]).unbind(1)
    strength = torch.hypot(right, down)
    ridge = _ridges(strength, right, down)
    weak = ridge & (strength >= LOW)
    return _connected(weak & (strength >= HIGH), weak)


def _smoothing(side: int) -> Tensor:
    """Return a matrix that smooths a row, with weights that sum to 1 at the ends too."""
    radius = math.ceil(4 * SIGMA)
    matrix = smoothing_matrix(gaussian_kernel(torch.tensor([SIGMA]), radius), side, reflect=False)[0]
    return matrix / matrix.sum(1, keepdim=True)


def _ridges(strength: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Whether no pixel before and behind, along the gradient, is stronger. Never at the border."""
    height, width = strength.shape[1:]
    padded = functional.pad(strength, (1, 1, 1, 1))

    def neighbor(rows: int, columns: int) -> Tensor:
        return padded[:, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    steep = down.abs() > right.abs()
    weight = torch.minimum(right.abs(), down.abs()) / torch.maximum(right.abs(), down.abs()).clamp(min=1e-12)
    same_sign = right * down >= 0
    ridge = torch.ones_like(steep)
    for way in (1, -1):
        straight = torch.where(steep, neighbor(way, 0), neighbor(0, way))
        straight = torch.where(~same_sign & steep, neighbor(-way, 0), straight)
        diagonal = torch.where(same_sign, neighbor(way, way), neighbor(-way, way))
        ridge &= torch.lerp(straight, diagonal, weight) <= strength
    border = torch.zeros(height, width, dtype=torch.bool)
    border[1:-1, 1:-1] = True
    return ridge & border


def _connected(found: Tensor, allowed: Tensor) -> Tensor:
    """Extend what was found over allowed pixels that touch it, also at corners."""
    while True:
        wider = (functional.max_pool2d(found[:, None].float(), 3, 1, 1)[:, 0] > 0) & allowed
        if torch.equal(wider, found):
            return found
        found = wider
