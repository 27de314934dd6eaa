"""Random erasing and cutout: parts of each image are replaced by one color."""

import math

import torch
from torch import Tensor


def random_erasing(pixels: Tensor, draws: Tensor, probability: float) -> Tensor:
    """Fill a rectangle of a random color in some of the images.

    The rectangle covers 2 to 33% of the image, with an aspect ratio of 0.3 to 1/0.3. Its sides are clipped to those of
    the image.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        draws: Numbers in [0, 1) of shape (B, 5 + C): whether to erase, area, aspect ratio, left, top and the color.
        probability: The fraction of images to erase from.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.

    Source: Zhong et al. 2020, "Random erasing data augmentation", section 3.2, with the bounds of torchvision.
    """
    height, width = pixels.shape[2:]
    area = (0.02 + 0.31 * draws[:, 1]) * (height * width)
    ratio = torch.exp((2 * draws[:, 2] - 1) * math.log(1 / 0.3))  # height to width
    high = (area * ratio).sqrt().round().clamp(1, height)
    wide = (area / ratio).sqrt().round().clamp(1, width)
    left, top = (draws[:, 3] * (width - wide + 1)).floor(), (draws[:, 4] * (height - high + 1)).floor()
    erased = inside(pixels, left, left + wide, top, top + high) & (draws[:, 0] < probability).view(-1, 1, 1, 1)
    return torch.where(erased, draws[:, 5:, None, None].to(pixels.dtype), pixels)


def cutout(pixels: Tensor, draws: Tensor, side: int, fill: Tensor) -> Tensor:
    """Replace a square around a random pixel; the part beyond the edge of the image is lost.

    Args:
        pixels: Images of shape (B, C, H, W), floating point. They are not overwritten.
        draws: Numbers in [0, 1) of shape (B, 2): place of the center, x and y.
        side: The side of the square in px.
        fill: The value of each channel in the square, of shape (C,). In the paper the mean of the training images, the
            zero of normalized inputs.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.

    Source: DeVries and Taylor 2017, "Improved regularization of convolutional neural networks with cutout", section 3.
    """
    height, width = pixels.shape[2:]
    left = (draws[:, 0] * width).floor() - side // 2
    top = (draws[:, 1] * height).floor() - side // 2
    return torch.where(inside(pixels, left, left + side, top, top + side), fill.to(pixels).view(1, -1, 1, 1), pixels)


def inside(pixels: Tensor, left: Tensor, right: Tensor, top: Tensor, bottom: Tensor) -> Tensor:
    """Mark the pixels of a rectangle in each image.

    Args:
        pixels: Images of shape (B, C, H, W), for their size and device alone.
        left: The first column, of shape (B,).
        right: The column after the last one, of shape (B,).
        top: The first row, of shape (B,).
        bottom: The row after the last one, of shape (B,).

    Returns:
        A mask of shape (B, 1, H, W).
    """
    height, width = pixels.shape[2:]
    x, y = torch.arange(width, device=pixels.device), torch.arange(height, device=pixels.device)
    across = (x >= left[:, None]) & (x < right[:, None])  # (B, W)
    down = (y >= top[:, None]) & (y < bottom[:, None])  # (B, H)
    return down[:, None, :, None] & across[:, None, None, :]
