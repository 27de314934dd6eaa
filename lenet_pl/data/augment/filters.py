"""Blur and noise of whole batches."""

import math

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST_SIGMA = 1e-3  # px; the kernel of a smaller one is the same single pixel


def gaussian_kernel(sigma: Tensor, radius: int) -> Tensor:
    """Sample Gaussians with the standard deviations `sigma` (B,) in px: weights (B, 2 · radius + 1) with sum 1."""
    x = torch.arange(-radius, radius + 1, dtype=sigma.dtype, device=sigma.device)
    return torch.softmax(-0.5 * (x / sigma.clamp(min=SMALLEST_SIGMA)[:, None]) ** 2, 1)


def gaussian_blur(pixels: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Blur each image with a Gaussian, with the image reflected at its edges.

    Args:
        pixels: Images of shape (B, C, H, W), floating point. They are not overwritten.
        sigma: The standard deviation in px, of shape (B,).
        largest: The largest possible one. The kernel ends at three times of it, and at the size of the image.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.
    """
    count, channels, height, width = pixels.shape
    radius = min(math.ceil(3 * largest), height - 1, width - 1)
    kernel = gaussian_kernel(sigma.to(pixels.dtype), radius).repeat_interleave(channels, 0)[:, None, None]
    stack = functional.pad(pixels, (radius,) * 4, mode="reflect").flatten(0, 1)[None]  # each image has its own kernel
    stack = functional.conv2d(stack, kernel, groups=count * channels)
    return functional.conv2d(stack, kernel.transpose(2, 3), groups=count * channels).view_as(pixels)


def add_noise(pixels: Tensor, noise: Tensor, std: float) -> Tensor:
    """Add Gaussian noise with the standard deviation `std` to images in [0, 1], and clamp them to [0, 1].

    Args:
        pixels: Images of shape (B, C, H, W), floating point. They are not overwritten.
        noise: Standard normal numbers of the same shape.
        std: The standard deviation, where white is 1.
    """
    return (pixels + std * noise.to(pixels.dtype)).clamp_(0, 1)
