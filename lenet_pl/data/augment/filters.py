"""Blur and noise of whole batches."""

import math

import torch
from torch import Tensor

SMALLEST_SIGMA = 1e-3  # px; the kernel of a smaller one is the same single pixel


def gaussian_kernel(sigma: Tensor, radius: int) -> Tensor:
    """Sample Gaussians with the standard deviations `sigma` (B,) in px: weights (B, 2 · radius + 1) with sum 1."""
    x = torch.arange(-radius, radius + 1, dtype=sigma.dtype, device=sigma.device)
    return torch.softmax(-0.5 * (x / sigma.clamp(min=SMALLEST_SIGMA)[:, None]) ** 2, 1)


def smoothing_matrix(kernel: Tensor, side: int, *, reflect: bool) -> Tensor:
    """Write the convolution of a row of pixels with a kernel as a matrix, which is faster for small images.

    Args:
        kernel: Kernels of shape (B, 2 · radius + 1), with a radius less than `side` if `reflect`.
        side: The number of pixels.
        reflect: Whether the pixels are reflected at both ends, about the last one; otherwise there are zeros outside.

    Returns:
        Matrices of shape (B, side, side), with output = matrix · input.
    """
    radius, last = kernel.shape[1] // 2, side - 1
    place = torch.arange(side, device=kernel.device)
    source = place[:, None] + torch.arange(-radius, radius + 1, device=kernel.device)  # (side, 2 · radius + 1)
    if reflect:
        source = last - (last - source.abs()).abs()
    taps = (source.T[:, :, None] == place).to(kernel.dtype)  # which input pixel each weight is for
    return (kernel @ taps.flatten(1)).view(-1, side, side)


def gaussian_blur(pixels: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Blur each image with a Gaussian, with the image reflected at its edges.

    Args:
        pixels: Images of shape (B, C, H, W), floating point. They are not overwritten.
        sigma: The standard deviation in px, of shape (B,).
        largest: The largest possible one. The kernel ends at three times of it, and at the size of the image.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.
    """
    height, width = pixels.shape[2:]
    kernel = gaussian_kernel(sigma.to(pixels.dtype), min(math.ceil(3 * largest), height - 1, width - 1))
    rows = smoothing_matrix(kernel, height, reflect=True)[:, None]
    columns = rows if height == width else smoothing_matrix(kernel, width, reflect=True)[:, None]
    return rows @ pixels @ columns.mT


def add_noise(pixels: Tensor, noise: Tensor, std: float) -> Tensor:
    """Add Gaussian noise with the standard deviation `std` to images in [0, 1], and clamp them to [0, 1].

    Args:
        pixels: Images of shape (B, C, H, W), floating point. They are not overwritten.
        noise: Standard normal numbers of the same shape.
        std: The standard deviation, where white is 1.
    """
    return (pixels + std * noise.to(pixels.dtype)).clamp_(0, 1)
