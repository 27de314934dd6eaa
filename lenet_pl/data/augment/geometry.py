"""Affine and elastic transforms of whole batches, resampled once."""

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.data.augment.filters import gaussian_kernel, smoothing_matrix


def inverse_affine(angle: Tensor, shift: Tensor, scale_x: Tensor, scale_y: Tensor, shear: Tensor) -> Tensor:
    """Invert the transform "scale, shear horizontally, rotate, shift" about the image center.

    Args:
        angle: The clockwise rotation in radians, of shape (B,).
        shift: The shift to the right and down in px, of shape (B, 2).
        scale_x: The horizontal factor, of shape (B,). A negative one mirrors.
        scale_y: The vertical factor, of shape (B,).
        shear: The shift to the right per px down, of shape (B,).

    Returns:
        Matrices of shape (B, 2, 3), with input px = matrix · (output px, 1).
    """
    cos, sin = angle.cos(), angle.sin()
    # Closed-form inverse of rotation · shear · scale
    a = torch.stack([cos + shear * sin, sin - shear * cos], 1) / scale_x[:, None]
    b = torch.stack([-sin, cos], 1) / scale_y[:, None]
    linear = torch.stack([a, b], 1)  # (B, 2, 2)
    return torch.cat([linear, -linear @ shift[:, :, None]], 2)


def elastic_displacement(noise: Tensor, alpha: float, sigma: float) -> Tensor:
    """Smooth random displacements to those of an elastic distortion.

    Args:
        noise: Numbers from -1 to 1 of shape (B, 2, H, W): to the right and down.
        alpha: The factor of the smoothed displacements, in px.
        sigma: The standard deviation of the Gaussian, in px. It is truncated at 4 sigma, as in SciPy, and there are no
            displacements outside the image.

    Returns:
        Displacements in px, of the shape of `noise`.

    Source: Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks applied to visual
    document analysis", section 2.
    """
    kernel = gaussian_kernel(noise.new_tensor([sigma]), int(4 * sigma + 0.5))
    rows, columns = (smoothing_matrix(kernel, side, reflect=False)[0] for side in noise.shape[2:])
    return alpha * (rows @ noise @ columns.mT)


def warp(
    pixels: Tensor, matrices: Tensor | None, background: float = 0.0, displacement: Tensor | None = None
) -> Tensor:
    """Resample images with bilinear interpolation.

    Args:
        pixels: Images of shape (B, C, H, W), floating point. They are not overwritten.
        matrices: Affine maps of shape (B, 2, 3) from output to input px, relative to the image center; None for the
            identity.
        background: The value of pixels outside the image.
        displacement: The displacement of each output px before the affine map, in px, of shape (B, 2, H, W): to the
            right and down; None for none. The distortion is thus one of the affinely transformed image.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.
    """
    height, width = pixels.shape[2:]
    size = pixels.new_tensor([width, height])
    if matrices is None:
        matrices = torch.eye(2, 3, device=pixels.device).expand(len(pixels), 2, 3)
    # grid_sample uses coordinates from -1 to 1 along each side
    theta = torch.cat([matrices[:, :, :2] * size / size[:, None], matrices[:, :, 2:] * 2 / size[:, None]], 2)
    theta = theta.to(pixels.dtype)  # the matrices are float64 if that is the default dtype
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    if displacement is not None:
        moved = displacement.to(pixels.dtype).permute(0, 2, 3, 1).flatten(1, 2) * (2 / size)  # (B, H · W, 2)
        grid = grid + (moved @ theta[:, :, :2].mT).view_as(grid)
    if background == 0:
        return functional.grid_sample(pixels, grid, align_corners=False)
    return functional.grid_sample(pixels - background, grid, align_corners=False) + background
