"""RandAugment and TrivialAugment for whole batches: each image gets operations of its own.

The operations and their ranges are those of torchvision. Its results differ in that

- images are resampled with bilinear interpolation, and pixels from outside are the background, where torchvision's
  default is the nearest pixel, and black;
- the weights of red, green and blue in a gray level sum to 1, where torchvision's sum to 0.9999;
- images stay floating point. torchvision expects uint8, and rounds after each operation.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.data.augment.color import color_jitter
from lenet_pl.data.augment.geometry import warp

OPERATIONS = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
SIGNED = OPERATIONS[1:10]  # operations whose magnitude has a random sign
NUM_BINS = 31  # of the magnitude, from 0 to 30


def rand_augment_ranges(height: int, width: int) -> Tensor:
    """Return the magnitudes of RandAugment's operations for images of this size, float (14, 31).

    Source: Cubuk et al. 2020, "RandAugment: practical automated data augmentation with a reduced search space".
    """
    return _ranges((0.3, 0.3, 150 / 331 * width, 150 / 331 * height, 30, 0.9), bits=4)


def trivial_augment_ranges(height: int, width: int) -> Tensor:
    """Return the magnitudes of the operations of TrivialAugment (wide), float (14, 31).

    Args:
        height: Not used: shifts are up to 32 px for any size, as published.
        width: Not used.

    Source: Müller and Hutter 2021, "TrivialAugment: tuning-free yet state-of-the-art data augmentation", table 1.
    """
    return _ranges((0.99, 0.99, 32, 32, 135, 0.99), bits=6)


def _ranges(largest: tuple[float, ...], bits: int) -> Tensor:
    """Fill the table: the largest magnitude of each geometric operation, then of each change of colors."""
    limits = (0, *largest[:5], *largest[5:] * 4)
    rows = [torch.linspace(0, limit, NUM_BINS) for limit in limits]
    rows.append((8 - torch.arange(NUM_BINS) / ((NUM_BINS - 1) / bits)).round())
    rows += [torch.linspace(1, 0, NUM_BINS), torch.zeros(NUM_BINS), torch.zeros(NUM_BINS)]
    return torch.stack(rows)


def apply_policy(
    pixels: Tensor, ranges: Tensor, magnitude: int | None, draws: Tensor, background: float = 0.0
) -> Tensor:
    """Apply one random operation to each image.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        ranges: The magnitudes of each operation, of shape (14, 31).
        magnitude: The magnitude, 0 to 30; None for a random one for each image.
        draws: Numbers in [0, 1) of shape (B, 3): operation, magnitude and sign. The host needs them, so that they are
            best on the CPU.
        background: The value of pixels outside the image.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.
    """
    draws = draws.cpu()
    chosen = (draws[:, 0] * len(OPERATIONS)).long()
    bins = (draws[:, 1] * NUM_BINS).long() if magnitude is None else torch.full_like(chosen, magnitude)
    signed = torch.isin(chosen, torch.tensor([OPERATIONS.index(name) for name in SIGNED]))
    values = ranges[chosen, bins] * torch.where(signed & (draws[:, 2] < 0.5), -1.0, 1.0)
    return apply_operations(pixels, chosen, values, background)


def apply_operations(pixels: Tensor, chosen: Tensor, magnitudes: Tensor, background: float = 0.0) -> Tensor:
    """Apply an operation with a magnitude to each image.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        chosen: The indices of the operations in `OPERATIONS`, int64 (B,), on the CPU.
        magnitudes: Their magnitudes as in torchvision, with the sign, float (B,), on the CPU.
        background: The value of pixels outside the image.

    Returns:
        A new tensor with the shape, dtype and device of `pixels`.
    """
    from torchvision.transforms.v2 import functional as tv  # takes a second to import

    result = pixels.clone()

    def of(*names: str) -> tuple[Tensor, Tensor, Tensor]:
        """Select the images with one of these operations: their indices, pixels and magnitudes."""
        wanted = torch.isin(chosen, torch.tensor([OPERATIONS.index(name) for name in names])).nonzero().flatten()
        there = wanted.to(pixels.device)
        return there, pixels[there], magnitudes[wanted].to(pixels)

    there, images, values = of(*OPERATIONS[1:6])
    if len(there):
        matrices = _matrices(chosen.to(pixels.device)[there], values, *pixels.shape[2:])
        result[there] = warp(images, matrices, background)
    there, images, values = of("Brightness", "Contrast", "Color")
    if len(there):
        kinds = chosen.to(pixels.device)[there]
        factors = [
            torch.where(kinds == OPERATIONS.index(name), 1 + values, 1.0)
            for name in ("Brightness", "Contrast", "Color")
        ]
        result[there] = color_jitter(images, *factors)
    there, images, values = of("Sharpness")
    if len(there):
        result[there] = sharpen(images, 1 + values)
    there, images, values = of("Posterize")
    if len(there):
        levels = (2**values).view(-1, 1, 1, 1)
        result[there] = torch.minimum((images * levels).floor(), levels - 1) / levels
    there, images, values = of("Solarize")
    if len(there):
        result[there] = torch.where(images >= values.view(-1, 1, 1, 1), 1 - images, images)
    for name, change in (("AutoContrast", tv.autocontrast), ("Equalize", tv.equalize)):
        there, images, _ = of(name)
        if len(there):
            result[there] = change(images)
    return result


def _matrices(chosen: Tensor, values: Tensor, height: int, width: int) -> Tensor:
    """Return the affine maps of geometric operations, as `warp` takes them; a shear keeps the upper left corner."""
    zero = torch.zeros_like(values)
    shear_x, shear_y, shift_x, shift_y, degrees = (
        torch.where(chosen == OPERATIONS.index(name), values, zero) for name in OPERATIONS[1:6]
    )
    cos, sin = torch.cos(degrees * math.pi / 180), torch.sin(degrees * math.pi / 180)
    rows = [
        torch.stack([cos, shear_x - sin, shear_x * height / 2 - shift_x.trunc()], 1),
        torch.stack([shear_y + sin, cos, shear_y * width / 2 - shift_y.trunc()], 1),
    ]
    return torch.stack(rows, 1)


def sharpen(pixels: Tensor, factor: Tensor) -> Tensor:
    """Blend images with a smoothed copy of them: 0 smooths, 1 changes nothing, 2 sharpens. The border stays.

    Args:
        pixels: Images in [0, 1] of shape (B, C, H, W), floating point. They are not overwritten.
        factor: The factor, of shape (B,).
    """
    channels, height, width = pixels.shape[1:]
    if min(height, width) <= 2:
        return pixels
    kernel = pixels.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]).div_(13).expand(channels, 1, 3, 3)
    smooth = pixels.clone()
    smooth[..., 1:-1, 1:-1] = functional.conv2d(pixels, kernel, groups=channels)
    return torch.lerp(smooth, pixels, factor.view(-1, 1, 1, 1)).clamp_(0, 1)
