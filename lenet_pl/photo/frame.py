"""Removal of frames, boxes, axes and ruled lines around handwriting, without removing its own strokes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lenet_pl.photo.frame_lines import aligned, anchored, crosses, erase, stands_alone
from lenet_pl.photo.segmentation import Box, Mask
from lenet_pl.photo.straight import Points, Run, find_runs

SHORTEST = 0.1  # minimum length of a line, as a fraction of the image's longer side

THIN = 20  # minimum ratio of length to width of a line across the image; strokes that fill a tight crop are thicker
EVERY = np.ones((3, 3))  # pixels that touch at a corner are connected


class Unframed(NamedTuple):
    """The ink of an image without its frame."""

    ink: Mask
    lines: Mask  # the ink that was removed
    doubtful: bool  # whether lines that may not be strokes are left


def without_frame(mask: Mask) -> Unframed:
    """Remove frames, boxes, axes, ruled lines and all writing outside of them.

    A frame either encloses ink that it does not touch, or consists of straight lines. Each line reaches from border to
    border, from line to line or, in the case of axes, from a common corner. Strokes of a digit have free ends.
    """
    left, doubtful = _without_lines(mask)
    ink = _without_underlines(_without_enclosing(left))
    return Unframed(ink, mask & ~ink, doubtful)


def _without_enclosing(mask: Mask) -> Mask:
    """Remove connected ink that encloses other ink, and everything outside of it."""
    pieces, _ = ndimage.label(mask, EVERY)
    boxes = ndimage.find_objects(pieces)
    sizes = np.array([max(s.stop - s.start for s in box) for box in boxes])
    within = np.zeros_like(mask)
    frames: list[int] = []
    for label in np.flatnonzero(sizes >= SHORTEST * max(mask.shape)) + 1:
        box = boxes[label - 1]
        alone = pieces[box] == label
        holes = ndimage.binary_fill_holes(alone) & ~alone
        if not holes.any():
            continue
        regions, _ = ndimage.label(holes)
        for region, room in enumerate(ndimage.find_objects(regions), 1):
            enclosed = np.unique(pieces[box][room][(regions[room] == region) & mask[box][room]])
            reach = max(s.stop - s.start for s in room)
            tall = [other for other in enclosed if sizes[other - 1] >= 0.25 * reach]
            if tall:
                frames.append(int(label))
                within[box][room] |= regions[room] == region
    if not frames:
        return mask
    return np.asarray(mask & within & ~np.isin(pieces, frames))


def _without_underlines(mask: Mask) -> Mask:
    """Remove horizontal lines below or above all other ink that are longer than it, unlike the bar of a 5 or 7."""
    pieces, _ = ndimage.label(mask, EVERY)
    boxes = ndimage.find_objects(pieces)
    for label, (rows, columns) in enumerate(boxes, 1):
        length = columns.stop - columns.start
        if length < max(SHORTEST * max(mask.shape), 2 * (rows.stop - rows.start)):
            continue
        thick = float((pieces[rows, columns] == label).sum()) / length
        others = [box for other, box in enumerate(boxes, 1) if other != label and _extent(box) > 2 * thick]
        outside = all(box[0].stop <= rows.start for box in others) or all(box[0].start >= rows.stop for box in others)
        if others and outside and length >= 8 * thick and length > 1.3 * max(map(_extent, others)):
            return np.asarray(mask & (pieces != label))
    return mask


def _extent(box: Box) -> int:
    return int(max(box[0].stop - box[0].start, box[1].stop - box[1].start))


def _without_lines(mask: Mask) -> tuple[Mask, bool]:
    """Remove straight lines; return whether doubtful ones are left, too."""
    runs = [run for run in find_runs(mask, SHORTEST * max(mask.shape)) if stands_alone(run, mask)]
    lines = anchored(aligned(runs), mask.shape)
    for some in (lines, [run for run in lines if crosses(run, mask.shape)]):
        if some:
            rest = erase(mask, some)
            digit = _main(rest)
            if digit is not None and _is_frame(some, digit, mask.shape):
                return _near(rest, digit), False
    for one in runs:
        for other in runs:
            if (corner := _corner(one, other)) is not None:
                rest = erase(mask, [one, other])
                digit = _main(rest)
                if digit is not None and all(_spans(run, corner, digit) for run in (one, other)):
                    return _near(rest, digit), False
    return mask, sum(line.length >= THIN * line.width for line in lines) >= 2


def _main(rest: Mask) -> Points | None:
    """Return the pixels of the largest connected ink, preferably away from the border; None if it is too small."""
    pieces, count = ndimage.label(rest, EVERY)
    if not count:
        return None
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    inside = areas.copy()
    inside[np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))] = 0
    areas = inside if inside.max() >= 0.05 * areas.max() else areas
    points = np.argwhere(pieces == areas.argmax()).astype(np.float64)
    return points if np.ptp(points, 0).max() >= 0.05 * max(rest.shape) else None


def _is_frame(lines: Sequence[Run], digit: Points, shape: tuple[int, ...]) -> bool:
    """Return whether lines enclose a digit on three sides, or cross the image from border to border."""
    sides = set()
    for line in lines:
        along, across = line.along(digit), line.across(digit)
        if min(along) >= -2 and max(along) <= line.length + 2 and abs(np.median(across)) > 0.3 * np.ptp(across):
            normal = np.array([line.direction[1], -line.direction[0]]) * np.sign(np.median(across))
            sides.add(int(np.argmax([normal[0], normal[1], -normal[0], -normal[1]])))
    if len(sides) >= 3:
        return True
    through = [line for line in lines if crosses(line, shape) and line.length >= THIN * line.width]
    if len(through) < len(lines) or not through:
        return False
    if sum(abs(line.direction @ through[0].direction) > 0.99 for line in through) >= 2:
        return True
    room = 0.01 * max(shape)
    free = bool((digit.min(0) > room).all() and (digit.max(0) < np.array(shape) - 1 - room).all())
    return free and through[0].length >= 1.5 * float(np.ptp(through[0].along(digit)))


def _corner(one: Run, other: Run) -> Points | None:
    """Find the common end of two nearly orthogonal lines."""
    if one is other or abs(one.direction @ other.direction) > 0.2:
        return None
    room = 1.5 * max(one.width, other.width) + 0.03 * min(one.length, other.length)
    for end in (one.start, one.end):
        if min(np.linalg.norm(end - start) for start in (other.start, other.end)) <= room:
            return end
    return None


def _spans(axis: Run, corner: Points, digit: Points) -> bool:
    """Return whether a digit is between the corner and the other end of an axis, and shorter than the axis."""
    along = axis.along(digit)
    if np.linalg.norm(corner - axis.start) > np.linalg.norm(corner - axis.end):
        along = axis.length - along
    extent = float(np.ptp(along))
    return bool(along.min() > -0.03 * axis.length and along.max() < 1.03 * axis.length) and (
        0 < extent <= 0.9 * axis.length
    )


def _near(rest: Mask, digit: Points) -> Mask:
    """Remove small writing and the ends of tick marks: ink much smaller than the digit and away from it."""
    pieces, count = ndimage.label(rest, EVERY)
    boxes = ndimage.find_objects(pieces)
    top, bottom = digit.min(0), digit.max(0)
    size = float((bottom - top).max())
    kept = np.zeros(count + 1, bool)
    for label, box in enumerate(boxes, 1):
        low = np.array([s.start for s in box], np.float64)
        high = np.array([s.stop - 1 for s in box], np.float64)
        apart = float(np.maximum(np.maximum(low - bottom, top - high), 0).max())
        kept[label] = (high - low).max() >= 0.4 * size or apart <= 0.1 * size
    return np.asarray(kept[pieces])
