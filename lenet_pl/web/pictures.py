"""Tensors as pictures of a page: data URLs of PNG files, and grids of feature maps or filters."""

import base64
import io
import math
from typing import Any

import torch
from PIL import Image
from torch import Tensor

GAP = 1  # px between two tiles


def tiles(maps: Tensor, *, symmetric: bool = False, columns: int | None = None) -> Any:
    """Arrange feature maps or filters in a grid of uint8 pixels, with one scale for all.

    Args:
        maps: Float (M, H, W), or (M, 3, H, W) for colors.
        symmetric: Whether 0 is the middle gray, as suits filters; otherwise the smallest value is black.
        columns: The number of tiles in a row; None for up to 8 in one row, or twice as many columns as rows.

    Returns:
        An array (height, width), or (height, width, 3).
    """
    count, height, width = maps.shape[0], *maps.shape[-2:]
    columns = columns or (math.ceil(math.sqrt(2 * count)) if count > 8 else count)
    rows = -(-count // columns)
    low, high = float(maps.min()), float(maps.max())
    if symmetric:
        high = max(-low, high)
        low = -high
    levels = ((maps - low) / (high - low if high > low else 1) * 255).round().byte()
    if maps.ndim == 4:
        levels = levels.permute(0, 2, 3, 1)
    size = rows * (height + GAP) - GAP, columns * (width + GAP) - GAP
    sheet = torch.zeros(*size, *levels.shape[3:], dtype=torch.uint8)
    for place, level in enumerate(levels):
        row, column = divmod(place, columns)
        top, left = row * (height + GAP), column * (width + GAP)
        sheet[top : top + height, left : left + width] = level
    return sheet.numpy()


def png_url(pixels: Any) -> str:
    """Encode uint8 pixels (H, W), (H, W, 3) or (H, W, 4) as a data URL."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
