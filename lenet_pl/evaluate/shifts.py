"""Systematic shifts of whole batches: every image is changed alike, by an amount with a unit.

Resampling is bilinear, about the center of the image. What comes from outside has the background of the network's
training images, as in augmentation.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lenet_pl.data.augment.geometry import inverse_affine, warp
from lenet_pl.settings.evaluate import ShiftName

UNITS: dict[str, str] = {"translate": "px", "rotate": "degrees", "scale": "factor", "shear": "degrees"}
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))  # of `translate`: right, left, down, up
BLOCK = 500  # images at a time, to bound the memory


def shift_images(images: Tensor, name: ShiftName, amount: float, background: float = 0.0) -> list[Tensor]:
    """Shift images.

    Args:
        images: Images as stored, uint8 (N, C, H, W).
        name: The kind of shift.
        amount: The distance of `translate` in px, the clockwise angle of `rotate` in degrees, the factor of `scale`
            (below 1 the object gets smaller), the angle of the horizontal `shear` in degrees.
        background: The gray level in [0, 1] of what comes from outside.

    Returns:
        The shifted images, uint8, of the same shape: for `translate` to the right, to the left, down and up, else once.

    Example:
        >>> right, left, down, up = shift_images(torch.eye(3, dtype=torch.uint8)[None, None], "translate", 1)
        >>> right[0, 0].tolist()
        [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    """
    moves: Sequence[tuple[float, float]] = DIRECTIONS if name == "translate" else ((0, 0),)
    return [
        torch.cat([_shift(block, name, amount, move, background) for block in torch.split(images, BLOCK)])
        for move in moves
    ]


def _shift(block: Tensor, name: ShiftName, amount: float, move: tuple[float, float], background: float) -> Tensor:
    one = torch.ones(1)
    matrix = inverse_affine(
        angle=one * math.radians(amount if name == "rotate" else 0),
        shift=torch.tensor([move], dtype=one.dtype) * amount,
        scale_x=one * (amount if name == "scale" else 1),
        scale_y=one * (amount if name == "scale" else 1),
        shear=one * math.tan(math.radians(amount if name == "shear" else 0)),
    )
    shifted = warp(block.float() / 255, matrix.expand(len(block), 2, 3), background)
    return (shifted.clamp(0, 1) * 255).round().to(torch.uint8)
