"""Straight lines that may belong to a frame, a grid or an axis."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from lenet_pl.photo.segmentation import Mask
from lenet_pl.photo.straight import Points, Run

STEEP = 0.5  # cosine of 60°, the smallest angle at which lines of frames and grids meet


def stands_alone(run: Run, mask: Mask) -> bool:
    """Return whether a run is not inside a thick stroke: most of it has no ink on one side, or half of it on both."""
    along = run.start + np.arange(0, run.length)[:, None] * run.direction
    aside = np.array([run.direction[1], -run.direction[0]]) * (0.75 * run.width + 3)
    filled = np.zeros((2, len(along)), bool)
    for side, places in zip(filled, (along + aside, along - aside), strict=True):
        y, x = np.rint(places).astype(np.int64).T
        inside = (y >= 0) & (x >= 0) & (y < mask.shape[0]) & (x < mask.shape[1])
        side[inside] = mask[y[inside], x[inside]]
    return bool(filled.mean(1).min() < 0.15 or filled.any(0).mean() < 0.5)


def aligned(runs: Sequence[Run]) -> list[Run]:
    """Keep the runs in the two orthogonal directions with the greatest total length."""
    near = np.cos(np.radians(8))

    def of_one_grid(one: Run) -> list[Run]:
        cosines = [abs(run.direction @ one.direction) for run in runs]
        return [run for run, cosine in zip(runs, cosines, strict=True) if not np.sqrt(1 - near**2) < cosine < near]

    return max(map(of_one_grid, runs), key=lambda grid: sum(run.length for run in grid), default=[])


def anchored(runs: Sequence[Run], shape: tuple[int, ...]) -> list[Run]:
    """Keep the runs whose two ends are at the border or at another kept run that meets them at a steep angle."""
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


def crosses(run: Run, shape: tuple[int, ...]) -> bool:
    """Return whether both ends of a line are at the border of the image."""
    return _at_border(run.start, run, shape) and _at_border(run.end, run, shape)


def erase(mask: Mask, lines: Sequence[Run]) -> Mask:
    """Erase lines except where a stroke crosses them."""
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
