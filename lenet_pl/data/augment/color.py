"""Changes of the colors of whole batches."""

import torch
from torch import Tensor


def color_jitter(pixels: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Scale brightness, then contrast about the mean gray of the image, then saturation about the gray of each pixel.

    A factor of 1 leaves the image unchanged. Grayscale images have no saturation.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        brightness: The brightness factor, of shape (B,).
        contrast: The contrast factor, of shape (B,).
        saturation: The saturation factor, of shape (B,).

    Returns:
        A new tensor of the same shape and device, clamped to [0, 1].
    """
    b, c, s = (factor.view(-1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    pixels = (pixels * b).clamp_(0, 1)
    middle = _gray(pixels).mean((1, 2, 3), keepdim=True)
    pixels = torch.lerp(middle, pixels, c).clamp_(0, 1)
    return pixels if pixels.shape[1] == 1 else torch.lerp(_gray(pixels), pixels, s).clamp_(0, 1)


def shift_hue(pixels: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of HSV, and keep saturation and value. Grayscale images have no hue.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        shift: The shift as a fraction of the color circle, of shape (B,).

    Returns:
        Images with the shape, dtype and device of `pixels`.
    """
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(1)
    chroma = value - pixels.amin(1)
    divisor = torch.where(chroma == 0, 1.0, chroma)  # gray: no hue, no division by zero
    sextant = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sextant = (sextant + 6 * shift.to(pixels.dtype)[:, None, None]) % 6
    parts = ((sextant - 3).abs() - 1, 2 - (sextant - 2).abs(), 2 - (sextant - 4).abs())  # of red, green and blue
    return value[:, None] - chroma[:, None] * (1 - torch.stack(parts, 1).clamp_(0, 1))


def _gray(pixels: Tensor) -> Tensor:
    """Convert (B, C, H, W) to gray with the weights of ITU-R BT.601, of shape (B, 1, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    return (pixels * pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
