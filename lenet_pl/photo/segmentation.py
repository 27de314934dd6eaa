"""Segmentation of ink and objects from the background, correction of light and noise, and centering.

Gray images are float32 of shape (H, W), from 0 (black) to 1 (white).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Gray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]  # rows, columns

MIN_CONTRAST = 0.08  # minimum contrast of ink, as a fraction of the range from black to white
MAX_NOISE = 0.3  # maximum threshold for noise; a higher estimate is ink that covers most of a tight crop
STROKE = 2.0  # minimum stroke width in px; 5% of MNIST's digits and 25% of scikit-learn's are thinner


def levels(image: Image.Image) -> Gray:
    """Convert an image of mode L to an array in [0, 1]."""
    return np.asarray(image, np.float32) / np.float32(255)


def resize(gray: Gray, shape: tuple[int, ...], how: Image.Resampling = Image.Resampling.BICUBIC) -> Gray:
    """Resample to (H, W) with antialiasing."""
    if gray.shape == shape:
        return gray
    return np.asarray(Image.fromarray(gray).resize((shape[1], shape[0]), how), np.float32)


def shrink(gray: Gray, side: int) -> Gray:
    """Reduce the longer side to `side` px; smaller images are returned unchanged."""
    scale = side / max(gray.shape)
    height, width = (max(1, round(length * scale)) for length in gray.shape)
    return gray if scale >= 1 else resize(gray, (height, width), Image.Resampling.BOX)


def background_level(gray: Gray) -> float:
    """Return the median level of the border pixels."""
    return float(np.median(np.concatenate([gray[0], gray[-1], gray[1:-1, 0], gray[1:-1, -1]])))


def normalize_contrast(gray: Gray) -> tuple[Gray, Mask]:
    """Scale the levels so that the background becomes black, and segment the foreground from its noise."""
    background = background_level(gray)
    found = (gray - background) / max(1 - background, MIN_CONTRAST)
    smooth = ndimage.gaussian_filter(found, max(gray.shape) / 400)
    noise = 1.4826 * background_level(np.abs(smooth))  # the median absolute deviation of a normal distribution
    return found.clip(0, 1), np.asarray(smooth > min(max(MIN_CONTRAST, 6 * noise), MAX_NOISE))


def flatten_illumination(gray: Gray, inverted: bool) -> Gray:
    """Compute the contrast of each pixel to its local background, from about 0 (background) to 1 (maximum contrast).

    A smooth surface models the illumination of the image. The background is then estimated by a morphological closing
    (dark ink) or opening (light ink), which removes everything narrower than half the image and keeps shadows.

    Args:
        gray: The image.
        inverted: Whether the ink is darker than the background.
    """
    small = shrink(gray, 96)
    window = max(3, max(small.shape) // 2)
    if inverted:  # paper reflects a fraction of the incident light, so the model is multiplicative
        light = np.exp(_upper_surface(np.log(small.clip(0.02))))
        background = light * ndimage.grey_closing(small / light, size=(window, window))
    else:
        light = -_upper_surface(-small)
        background = light + ndimage.grey_opening(small - light, size=(window, window))
    background = resize(background.astype(np.float32), gray.shape, Image.Resampling.BILINEAR)
    return 1 - gray / background.clip(0.02) if inverted else gray - background


def find_ink(gray: Gray) -> Mask | None:
    """Segment the ink of a light-on-black image without specks and objects at the border; None if it is blank."""
    marked = mark_ink(gray)
    return None if marked is None else without_specks(marked)


def mark_ink(gray: Gray) -> Mask | None:
    """Segment everything above the noise of a light-on-black image; None if it is blank."""
    smooth = ndimage.gaussian_filter(gray, max(gray.shape) / 400)
    floor = min(max(MIN_CONTRAST, _noise_level(smooth, 6)), MAX_NOISE)
    if smooth.max() <= floor:
        return None
    return np.asarray(smooth > threshold(smooth[smooth > floor]))


def without_specks(mask: Mask) -> Mask:
    """Remove specks, and objects at the border unless the ink itself reaches it."""
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    kept = areas >= 0.02 * areas.max()  # separate strokes and dots are larger than specks
    rim = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
    inside = kept.copy()
    inside[rim] = False
    if inside.any() and areas[inside].max() >= 0.05 * areas.max():
        kept = inside
    return np.asarray(kept[pieces])


def without_lines(gray: Gray, lines: Mask, ink: Mask) -> Gray:
    """Set lines and their soft edges to black, except for the ink."""
    if not lines.any():
        return gray
    near = ndimage.binary_dilation(lines, np.ones((3, 3)), iterations=max(2, max(gray.shape) // 250))
    return np.where(near & ~ink, 0, gray).astype(np.float32)


def extract_foreground(gray: Gray, mask: Mask) -> Gray:
    """Scale the ink with its soft edges so that its strongest 10% become 1, and set everything else to 0."""
    box = bounding_box(mask)
    reach = max(2.0, 0.07 * max(s.stop - s.start for s in box))  # about 1.5 px for a digit 20 px high
    near = ndimage.distance_transform_edt(~mask) <= reach
    floor = min(_noise_level(gray[~near], 3) if not near.all() else 0.0, MIN_CONTRAST)
    full = float(np.percentile(gray[mask], 90))
    return np.where(near, ((gray - floor) / max(full - floor, 1e-3)).clip(0, 1), 0).astype(np.float32)


def dilate_strokes(ink: Gray, wanted: float) -> Gray:
    """Dilate strokes that are thinner than `wanted` px on average."""
    core = ink > 0.5
    if not core.any():
        return ink
    # The mean distance to the edge of a bar of width w, measured from half a pixel outside, is w/4 + 1/2
    width = 4 * (float(ndimage.distance_transform_edt(np.pad(core, 1))[1:-1, 1:-1][core].mean()) - 0.5)
    radius = (wanted - max(width, 1.0)) / 2
    if radius < 0.5:
        return ink
    reach = int(np.ceil(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = x * x + y * y <= radius * radius
    return np.asarray(ndimage.grey_dilation(np.pad(ink, reach), footprint=disk, mode="constant"), np.float32)


def bounding_box(mask: Mask) -> Box:
    """Return the slices of rows and columns that contain a non-empty mask."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def fit_into(ink: Gray, side: int, box: int, *, by_mass: bool) -> Gray:
    """Scale an image to a longer side of `box` px and center it on a black square.

    Args:
        ink: The image, light on black.
        side: The side of the square in px.
        box: The longer side of the scaled image in px, at most `side`.
        by_mass: Whether to center on the center of mass, instead of the center of the image.

    Returns:
        The square, of shape (side, side).
    """
    if not by_mass:
        room = max(max(ink.shape), round(max(ink.shape) * side / box))
        square = np.zeros((room, room), np.float32)
        top, left = ((room - length) // 2 for length in ink.shape)
        square[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        return resize(square, (side, side)).clip(0, 1)
    scale = box / max(ink.shape)
    height, width = (max(1, round(length * scale)) for length in ink.shape)
    small = resize(ink, (height, width)).clip(0, 1)
    mass: Sequence[float] = ndimage.center_of_mass(small)
    # The center of mass of MNIST's digits is pixel 14 of 28, counted from 0 and rounded to a whole pixel
    top, left = (min(max(round(side / 2 - m), 0), side - length) for m, length in zip(mass, small.shape, strict=True))
    placed = np.zeros((side, side), np.float32)
    placed[top : top + height, left : left + width] = small
    return placed


def _upper_surface(values: Gray) -> Gray:
    """Fit a quadratic surface by weighted least squares; levels below it, the ink, have a weight of 1/50."""
    y, x = (np.linspace(-1, 1, length) for length in values.shape)
    y, x = (axis.ravel() for axis in np.meshgrid(y, x, indexing="ij"))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1)
    wanted, weights = values.ravel().astype(np.float64), np.ones(values.size)
    for _ in range(20):
        scaled = terms * weights[:, None]
        surface = terms @ np.linalg.lstsq(terms.T @ scaled, scaled.T @ wanted)[0]
        weights = np.where(wanted < surface, 0.02, 1.0)
    return np.asarray(surface.reshape(values.shape), np.float32)


def _noise_level(gray: Gray, deviations: float) -> float:
    """Estimate the mean plus a number of standard deviations of normally distributed background levels.

    The background must cover at least half of the image. Only the darkest 30% of all levels are used, because tightly
    cropped ink covers much of the image.
    """
    low, high = np.quantile(gray, (0.1, 0.3))
    deviation = (high - low) / (1.2816 - 0.5244)  # quantiles of the standard normal distribution
    return float(high + (0.5244 + deviations) * deviation)


def threshold(values: NDArray[np.float32]) -> float:
    """Compute the threshold with the largest between-class variance. Source: Otsu 1979."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum(), counts.sum() - counts.cumsum()
    sums = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nanargmax(between)]) if (above * below).any() else float(edges[0])
