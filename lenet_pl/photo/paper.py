"""Detection of a sheet of paper, a card or a plot area that covers only part of a photo, and cropping to it."""

import numpy as np
from PIL import Image
from scipy import ndimage

from lenet_pl.photo import segmentation

SIDE = 256  # longer side of the image in px for the search
SMALLEST = 0.06  # fraction of the image's area
RECTANGULAR = 0.9  # fraction of the smallest enclosing rectangle; an ellipse fills 0.79
MARGIN = 0.03  # soft edge and border, as a fraction of the paper's longer side


def find_paper(gray: segmentation.Gray) -> segmentation.Mask | None:
    """Find the inside of a filled rectangle, possibly rotated, with something on it; None if there is none.

    A drawn frame is not paper, because most of it is not filled.

    Args:
        gray: The image, float32 in [0, 1] of shape (H, W).

    Returns:
        The mask of the paper without its edge, of shape (H, W), or None.
    """
    small = segmentation.shrink(gray, SIDE)
    light = small > segmentation.threshold(small.ravel())
    other = light != (segmentation.background_level(small) > segmentation.threshold(small.ravel()))
    pieces, count = ndimage.label(other)
    if not count:
        return None
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    piece = pieces == areas.argmax()
    filled = ndimage.binary_fill_holes(piece)
    share = float(piece.sum() / filled.sum())
    if filled.mean() < SMALLEST or not 0.5 < share < 0.995 or _rectangularity(filled) < RECTANGULAR:
        return None
    depth = ndimage.distance_transform_edt(np.pad(filled, 1))[1:-1, 1:-1]
    margin = 1 + MARGIN * max(np.ptp(np.argwhere(filled), 0))
    ring = (depth > margin) & (depth < 3 * margin)
    inside = depth > margin
    if piece[ring].mean() < 0.8 or not (inside & ~piece).any():  # the inside of a thick drawn frame is not filled
        return None
    large = segmentation.resize(inside.astype(np.float32), gray.shape, Image.Resampling.BILINEAR)
    return np.asarray(large > 0.5)


def crop_to_paper(gray: segmentation.Gray, paper: segmentation.Mask) -> segmentation.Gray:
    """Crop an image to the paper; pixels of the crop outside of the paper get the level of its nearest pixel."""
    box = segmentation.bounding_box(paper)
    _, (rows, columns) = ndimage.distance_transform_edt(~paper[box], return_indices=True)
    return np.asarray(gray[box][rows, columns])


def _rectangularity(filled: segmentation.Mask) -> float:
    """Return the filled fraction of the smallest enclosing rectangle at any angle."""
    points = np.argwhere(filled).astype(np.float64)
    turns = np.radians(np.arange(0, 90, 2))
    areas = [
        np.prod(np.ptp(points @ np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]), 0) + 1) for t in turns
    ]
    return float(len(points) / min(areas))
