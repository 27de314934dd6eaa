"""Handwriting and objects before a background: found, taken out of uneven light and noise, and put into the middle.

Grey pictures are float32 (H, W), 0 black to 1 white.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]  # rows, columns

FAINTEST = 0.08  # of the range from black to white: less contrast is no ink
LOUDEST = 0.3  # noise; what seems to be more is ink that covers most of a tight crop
STROKE = 2.0  # px; the thinnest twentieth of MNIST's digits, and the thinnest quarter of scikit-learn's, are below


def levels(image: Image.Image) -> Grey:
    """Read an image of mode L."""
    return np.asarray(image, np.float32) / np.float32(255)


def resize(grey: Grey, shape: tuple[int, ...], how: Image.Resampling = Image.Resampling.BICUBIC) -> Grey:
    """Resample to (H, W) with antialiasing."""
    if grey.shape == shape:
        return grey
    return np.asarray(Image.fromarray(grey).resize((shape[1], shape[0]), how), np.float32)


def shrink(grey: Grey, side: int) -> Grey:
    """Bring the longer side down to `side` px; a smaller picture is left as it is."""
    scale = side / max(grey.shape)
    height, width = (max(1, round(length * scale)) for length in grey.shape)
    return grey if scale >= 1 else resize(grey, (height, width), Image.Resampling.BOX)


def background_level(grey: Grey) -> float:
    """Take the middle level of the outermost pixels."""
    return float(np.median(np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])))


def is_light_background(grey: Grey) -> bool:
    """Say whether what is on the background is darker than it."""
    grey = shrink(grey, 256)  # single noisy pixels say nothing
    background = background_level(grey)
    return background - float(grey.min()) > float(grey.max()) - background


def on_black(grey: Grey) -> tuple[Grey, Mask]:
    """Stretch the levels so that a darker background becomes black, and mark what stands out from its noise."""
    background = background_level(grey)
    found = (grey - background) / max(1 - background, FAINTEST)
    smooth = ndimage.gaussian_filter(found, max(grey.shape) / 400)
    noise = 1.4826 * background_level(np.abs(smooth))  # the median absolute deviation of a normal distribution
    return found.clip(0, 1), np.asarray(smooth > min(max(FAINTEST, 6 * noise), LOUDEST))


def without_shadows(grey: Grey, inverted: bool) -> Grey:
    """Compare each pixel with the background around it: about 0 is background, 1 the most that can stand out.

    A smooth surface takes out the fall of the light over the picture. Then the background is what a morphological
    closing (dark ink) or opening (light ink) leaves: all that is narrower than half the picture goes, shadows stay.
    """
    small = shrink(grey, 96)
    window = max(3, max(small.shape) // 2)
    if inverted:  # paper reflects a share of the light that falls on it
        light = np.exp(_upper_surface(np.log(small.clip(0.02))))
        background = light * ndimage.grey_closing(small / light, size=(window, window))
    else:
        light = -_upper_surface(-small)
        background = light + ndimage.grey_opening(small - light, size=(window, window))
    background = resize(background.astype(np.float32), grey.shape, Image.Resampling.BILINEAR)
    return 1 - grey / background.clip(0.02) if inverted else grey - background


def find_ink(grey: Grey) -> Mask | None:
    """Mark the ink of a light-on-black picture, less specks and what comes in from the border; None if it is blank."""
    marked = mark_ink(grey)
    return None if marked is None else without_specks(marked)


def mark_ink(grey: Grey) -> Mask | None:
    """Mark all that stands out from the noise of a light-on-black picture; None if it is blank."""
    smooth = ndimage.gaussian_filter(grey, max(grey.shape) / 400)
    floor = min(max(FAINTEST, _noise_level(smooth, 6)), LOUDEST)
    if smooth.max() <= floor:
        return None
    return np.asarray(smooth > threshold(smooth[smooth > floor]))


def without_specks(mask: Mask) -> Mask:
    """Leave out specks, and what comes in from the border, unless the ink itself reaches it."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    areas[0] = 0
    kept = areas >= 0.02 * areas.max()  # a stroke apart from the rest, or a dot, is more than a speck
    rim = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    inside = kept.copy()
    inside[rim] = False
    if inside.any() and areas[inside].max() >= 0.05 * areas.max():
        kept = inside
    return np.asarray(kept[parts])


def without_lines(grey: Grey, lines: Mask, ink: Mask) -> Grey:
    """Make lines black, and the soft edges beside them that are not of the ink."""
    if not lines.any():
        return grey
    near = ndimage.binary_dilation(lines, np.ones((3, 3)), iterations=max(2, max(grey.shape) // 250))
    return np.where(near & ~ink, 0, grey).astype(np.float32)


def soft_ink(grey: Grey, mask: Mask) -> Grey:
    """Keep the ink with its soft edges, its strongest tenth at 1, and make all else 0."""
    box = bounding_box(mask)
    reach = max(2.0, 0.07 * max(s.stop - s.start for s in box))  # about 1.5 px of a digit that is 20 px high
    near = ndimage.distance_transform_edt(~mask) <= reach
    floor = min(_noise_level(grey[~near], 3) if not near.all() else 0.0, FAINTEST)
    full = float(np.percentile(grey[mask], 90))
    return np.where(near, ((grey - floor) / max(full - floor, 1e-3)).clip(0, 1), 0).astype(np.float32)


def thicken(ink: Grey, wanted: float) -> Grey:
    """Widen strokes that are thinner than `wanted` px on average; wide ones stay."""
    core = ink > 0.5
    if not core.any():
        return ink
    # Over a bar of width w the distance to its edge, counted from half a pixel outside, averages w/4 + 1/2.
    width = 4 * (float(ndimage.distance_transform_edt(np.pad(core, 1))[1:-1, 1:-1][core].mean()) - 0.5)
    radius = (wanted - max(width, 1.0)) / 2
    if radius < 0.5:
        return ink
    reach = int(np.ceil(radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = x * x + y * y <= radius * radius
    return np.asarray(ndimage.grey_dilation(np.pad(ink, reach), footprint=disk, mode="constant"), np.float32)


def bounding_box(mask: Mask) -> Box:
    """Rows and columns that hold anything; the mask must not be empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def fit_into(ink: Grey, side: int, box: int, *, by_mass: bool) -> Grey:
    """Scale a picture so that its longer side is `box` px, and put it into the middle of (side, side) black.

    Args:
        ink: all of it is taken.
        side: px.
        box: px, at most `side`.
        by_mass: the middle is the centre of mass, else the centre of the picture.
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
    # MNIST's digits have their mass at pixel 14 of 28, counted from 0, to the nearest whole pixel
    top, left = (min(max(round(side / 2 - m), 0), side - length) for m, length in zip(mass, small.shape, strict=True))
    placed = np.zeros((side, side), np.float32)
    placed[top : top + height, left : left + width] = small
    return placed


def _upper_surface(values: Grey) -> Grey:
    """Fit a quadratic surface by least squares that count what lies below it, the ink, one fiftieth."""
    y, x = (np.linspace(-1, 1, length) for length in values.shape)
    y, x = (axis.ravel() for axis in np.meshgrid(y, x, indexing="ij"))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1)
    wanted, weights = values.ravel().astype(np.float64), np.ones(values.size)
    for _ in range(20):
        scaled = terms * weights[:, None]
        surface = terms @ np.linalg.lstsq(terms.T @ scaled, scaled.T @ wanted)[0]
        weights = np.where(wanted < surface, 0.02, 1.0)
    return np.asarray(surface.reshape(values.shape), np.float32)


def _noise_level(grey: Grey, deviations: float) -> float:
    """Mean and so many standard deviations of the background's levels, taken to be normal, if it is half the picture.

    Only the darkest 30% are looked at, since tightly cropped ink covers a good part of the picture.
    """
    low, high = np.quantile(grey, (0.1, 0.3))
    deviation = (high - low) / (1.2816 - 0.5244)  # quantiles of the standard normal distribution
    return float(high + (0.5244 + deviations) * deviation)


def threshold(values: NDArray[np.float32]) -> float:
    """Threshold with the largest variance between the two classes. Source: Otsu 1979."""
    counts, edges = np.histogram(values, 128)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum(), counts.sum() - counts.cumsum()
    sums = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1:][np.nanargmax(between)]) if (above * below).any() else float(edges[0])
