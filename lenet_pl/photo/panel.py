"""The sheet of paper, card or area of a plot that is only a part of a photo: found, and all around it left out."""

import numpy as np
from PIL import Image
from scipy import ndimage

from lenet_pl.photo import ink

SIDE = 256  # px in which panels are looked for
SMALLEST = 0.06  # of the picture's area
RECTANGULAR = 0.9  # share of the smallest rectangle around it; an ellipse fills 0.79
MARGIN = 0.03  # of a panel's longer side: its soft edge, and its border


def find_panel(grey: ink.Grey) -> ink.Mask | None:
    """Mark the inside of a filled rectangle, level or turned, with something on it; None if there is none.

    A frame that is drawn is no panel, as most of it is not filled.
    """
    small = ink.shrink(grey, SIDE)
    light = small > ink.threshold(small.ravel())
    other = light != (ink.background_level(small) > ink.threshold(small.ravel()))
    parts, count = ndimage.label(other)
    if not count:
        return None
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    part = parts == areas.argmax()
    filled = ndimage.binary_fill_holes(part)
    share = float(part.sum() / filled.sum())
    if filled.mean() < SMALLEST or not 0.5 < share < 0.995 or _rectangularity(filled) < RECTANGULAR:
        return None
    depth = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    margin = 1 + MARGIN * max(np.ptp(np.argwhere(filled), 0))
    ring = (depth > margin) & (depth < 3 * margin)
    inside = depth > margin
    if part[ring].mean() < 0.8 or not (inside & ~part).any():  # within a frame that is drawn thick it is empty
        return None
    large = ink.resize(inside.astype(np.float32), grey.shape, Image.Resampling.BILINEAR)
    return np.asarray(large > 0.5)


def cut_out(grey: ink.Grey, panel: ink.Mask) -> ink.Grey:
    """Crop to a panel, with what lies beside it in the crop at the level of the panel's nearest pixel."""
    box = ink.bounding_box(panel)
    _, (rows, columns) = ndimage.distance_transform_edt(~panel[box], return_indices=True)
    return np.asarray(grey[box][rows, columns])


def _rectangularity(filled: ink.Mask) -> float:
    """Share of the smallest rectangle at any angle that is filled."""
    points = np.argwhere(filled).astype(np.float64)
    turns = np.radians(np.arange(0, 90, 2))
    areas = [
        np.prod(np.ptp(points @ np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]), 0) + 1) for t in turns
    ]
    return float(len(points) / min(areas))
