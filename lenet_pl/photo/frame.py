"""Frames, boxes, axes and ruled lines around handwriting, told from its own strokes and left out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lenet_pl.photo.ink import Box, Mask
from lenet_pl.photo.straight import Points, Run, find_runs

SHORTEST = 0.1  # of the picture's longer side: a run of ink that may be a line
STEEP = 0.5  # cosine of the smallest angle, 60°, at which lines of frames and grids meet
THIN = 20  # times as long as wide: a line through the whole picture; a stroke that fills a tight crop is thicker
EVERY = np.ones((3, 3))  # pixels that touch at a corner are connected


class Unframed(NamedTuple):
    """What is on a picture, with its frame left out."""

    ink: Mask
    lines: Mask  # what was left out
    doubtful: bool  # whether lines that may be no strokes are still there


def without_frame(mask: Mask) -> Unframed:
    """Leave out frames, boxes, axes, rulings and what is written outside of them.

    A frame either has ink inside that it does not touch, or consists of straight lines that each reach from border to
    border, from line to line, or, as axes do, from a common corner. Strokes of a digit end free.
    """
    left, doubtful = _without_lines(mask)
    ink = _without_underlines(_without_enclosing(left))
    return Unframed(ink, mask & ~ink, doubtful)


def _without_enclosing(mask: Mask) -> Mask:
    """Leave out connected ink that other ink lies within, and then what lies outside of it."""
    parts, _ = ndimage.label(mask, EVERY)
    boxes = ndimage.find_objects(parts)
    sizes = np.array([max(s.stop - s.start for s in box) for box in boxes])
    within = np.zeros_like(mask)
    frames: list[int] = []
    for label in np.flatnonzero(sizes >= SHORTEST * max(mask.shape)) + 1:
        box = boxes[label - 1]
        alone = parts[box] == label
        holes = ndimage.binary_fill_holes(alone) & ~alone
        if not holes.any():
            continue
        regions, _ = ndimage.label(holes)
        for region, room in enumerate(ndimage.find_objects(regions), 1):
            held = np.unique(parts[box][room][(regions[room] == region) & mask[box][room]])
            reach = max(s.stop - s.start for s in room)
            tall = [other for other in held if sizes[other - 1] >= 0.25 * reach]
            if tall:
                frames.append(int(label))
                within[box][room] |= regions[room] == region
    if not frames:
        return mask
    return np.asarray(mask & within & ~np.isin(parts, frames))


def _without_underlines(mask: Mask) -> Mask:
    """Leave out level lines below or above all other ink, and longer than that; the bar of a 5 or 7 is shorter."""
    parts, _ = ndimage.label(mask, EVERY)
    boxes = ndimage.find_objects(parts)
    for label, (rows, columns) in enumerate(boxes, 1):
        length = columns.stop - columns.start
        if length < max(SHORTEST * max(mask.shape), 2 * (rows.stop - rows.start)):
            continue
        thick = float((parts[rows, columns] == label).sum()) / length
        others = [box for other, box in enumerate(boxes, 1) if other != label and _extent(box) > 2 * thick]
        beside = all(box[0].stop <= rows.start for box in others) or all(box[0].start >= rows.stop for box in others)
        if others and beside and length >= 8 * thick and length > 1.3 * max(map(_extent, others)):
            return np.asarray(mask & (parts != label))
    return mask


def _extent(box: Box) -> int:
    return int(max(box[0].stop - box[0].start, box[1].stop - box[1].start))


def _without_lines(mask: Mask) -> tuple[Mask, bool]:
    """Leave out straight lines; say, too, whether some are still there."""
    runs = [run for run in find_runs(mask, SHORTEST * max(mask.shape)) if _stands_alone(run, mask)]
    lines = _anchored(_aligned(runs), mask.shape)
    for some in (lines, [run for run in lines if _crosses(run, mask.shape)]):
        if some:
            rest = _erase(mask, some)
            digit = _main(rest)
            if digit is not None and _is_frame(some, digit, mask.shape):
                return _near(rest, digit), False
    for one in runs:
        for other in runs:
            if (corner := _corner(one, other)) is not None:
                rest = _erase(mask, [one, other])
                digit = _main(rest)
                if digit is not None and all(_spans(run, corner, digit) for run in (one, other)):
                    return _near(rest, digit), False
    return mask, sum(line.length >= THIN * line.width for line in lines) >= 2


def _stands_alone(run: Run, mask: Mask) -> bool:
    """Say whether most of a run has no ink on one side, or half of it on both; within a thick stroke it has."""
    along = run.start + np.arange(0, run.length)[:, None] * run.direction
    aside = np.array([run.direction[1], -run.direction[0]]) * (0.75 * run.width + 3)
    filled = np.zeros((2, len(along)), bool)
    for side, places in zip(filled, (along + aside, along - aside), strict=True):
        y, x = np.rint(places).astype(np.int64).T
        inside = (y >= 0) & (x >= 0) & (y < mask.shape[0]) & (x < mask.shape[1])
        side[inside] = mask[y[inside], x[inside]]
    return bool(filled.mean(1).min() < 0.15 or filled.any(0).mean() < 0.5)


def _aligned(runs: Sequence[Run]) -> list[Run]:
    """Keep the runs of the two directions, at right angles, in which most of the straight ink lies."""
    near = np.cos(np.radians(8))

    def of_one_grid(one: Run) -> list[Run]:
        cosines = [abs(run.direction @ one.direction) for run in runs]
        return [run for run, cosine in zip(runs, cosines, strict=True) if not np.sqrt(1 - near**2) < cosine < near]

    return max(map(of_one_grid, runs), key=lambda grid: sum(run.length for run in grid), default=[])


def _anchored(runs: Sequence[Run], shape: tuple[int, ...]) -> list[Run]:
    """Keep the runs that end on both sides at the border or at a run that is kept and stands steep on them."""
    kept = list(runs)
    while True:
        ends = [run for run in kept if all(_holds(end, run, kept, shape) for end in (run.start, run.end))]
        if len(ends) == len(kept):
            return ends
        kept = ends


def _holds(end: Points, run: Run, others: Sequence[Run], shape: tuple[int, ...]) -> bool:
    if _at_border(end, run, shape):
        return True
    room = 0.012 * max(shape)
    return any(
        other is not run
        and abs(other.direction @ run.direction) < STEEP
        and bool(other.band(end[None], room + run.width)[0])
        for other in others
    )


def _at_border(end: Points, run: Run, shape: tuple[int, ...]) -> bool:
    room = 0.5 * run.width + 0.012 * max(shape)
    return bool((end < room).any() or (end > np.array(shape) - 1 - room).any())


def _crosses(run: Run, shape: tuple[int, ...]) -> bool:
    return _at_border(run.start, run, shape) and _at_border(run.end, run, shape)


def _erase(mask: Mask, lines: Sequence[Run]) -> Mask:
    """Take lines out, but for where strokes on both sides of one go through it."""
    points = np.argwhere(mask).astype(np.float64)
    on = np.zeros(len(points), bool)
    widest = max(line.width for line in lines)
    for line in lines:
        on |= line.band(points, 1.5 + 0.2 * line.width)
    taken = np.zeros_like(mask)
    taken[tuple(points[on].astype(np.int64).T)] = True
    rest = mask & ~taken
    reach = int(np.ceil(0.7 * widest + 3))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    closed = ndimage.binary_closing(np.pad(rest, reach), x * x + y * y <= reach * reach)[reach:-reach, reach:-reach]
    return np.asarray(rest | taken & closed)


def _main(rest: Mask) -> Points | None:
    """Pixels of the largest connected ink, those inside preferred to those at the border; None if it is too small."""
    parts, count = ndimage.label(rest, EVERY)
    if not count:
        return None
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    inside = areas.copy()
    inside[np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))] = 0
    areas = inside if inside.max() >= 0.05 * areas.max() else areas
    points = np.argwhere(parts == areas.argmax()).astype(np.float64)
    return points if np.ptp(points, 0).max() >= 0.05 * max(rest.shape) else None


def _is_frame(lines: Sequence[Run], digit: Points, shape: tuple[int, ...]) -> bool:
    """Say whether lines shut a digit in on three sides, or rule the picture from border to border."""
    sides = set()
    for line in lines:
        along, across = line.along(digit), line.across(digit)
        if min(along) >= -2 and max(along) <= line.length + 2 and abs(np.median(across)) > 0.3 * np.ptp(across):
            normal = np.array([line.direction[1], -line.direction[0]]) * np.sign(np.median(across))
            sides.add(int(np.argmax([normal[0], normal[1], -normal[0], -normal[1]])))
    if len(sides) >= 3:
        return True
    through = [line for line in lines if _crosses(line, shape) and line.length >= THIN * line.width]
    if len(through) < len(lines) or not through:
        return False
    if sum(abs(line.direction @ through[0].direction) > 0.99 for line in through) >= 2:
        return True
    room = 0.01 * max(shape)
    free = bool((digit.min(0) > room).all() and (digit.max(0) < np.array(shape) - 1 - room).all())
    return free and through[0].length >= 1.5 * float(np.ptp(through[0].along(digit)))


def _corner(one: Run, other: Run) -> Points | None:
    """Find where two lines begin together at nearly a right angle."""
    if one is other or abs(one.direction @ other.direction) > 0.2:
        return None
    room = 1.5 * max(one.width, other.width) + 0.03 * min(one.length, other.length)
    for end in (one.start, one.end):
        if min(np.linalg.norm(end - start) for start in (other.start, other.end)) <= room:
            return end
    return None


def _spans(axis: Run, corner: Points, digit: Points) -> bool:
    """Say whether a digit lies along an axis, between its corner and its other end, and is shorter than it."""
    along = axis.along(digit)
    if np.linalg.norm(corner - axis.start) > np.linalg.norm(corner - axis.end):
        along = axis.length - along
    extent = float(np.ptp(along))
    return bool(along.min() > -0.03 * axis.length and along.max() < 1.03 * axis.length) and (
        0 < extent <= 0.9 * axis.length
    )


def _near(rest: Mask, digit: Points) -> Mask:
    """Leave out small writing and the ends of ticks: what is much smaller than the digit and apart from it."""
    parts, count = ndimage.label(rest, EVERY)
    boxes = ndimage.find_objects(parts)
    top, bottom = digit.min(0), digit.max(0)
    size = float((bottom - top).max())
    kept = np.zeros(count + 1, bool)
    for label, box in enumerate(boxes, 1):
        low = np.array([s.start for s in box], np.float64)
        high = np.array([s.stop - 1 for s in box], np.float64)
        apart = float(np.maximum(np.maximum(low - bottom, top - high), 0).max())
        kept[label] = (high - low).max() >= 0.4 * size or apart <= 0.1 * size
    return np.asarray(kept[parts])
