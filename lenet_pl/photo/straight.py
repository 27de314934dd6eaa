"""Detection of long straight runs of ink: lines of frames, boxes, axes and ruled paper, and straight strokes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lenet_pl.photo.segmentation import Mask

WORKING_SIDE = 400  # longer side of the image in px for the search
ANGLES = 180
MAX_RUNS = 40  # squared paper has fewer
SLENDER = 4  # minimum ratio of length to width
_THETA = np.arange(ANGLES) * (np.pi / ANGLES)
_NORMALS = np.stack([np.sin(_THETA), np.cos(_THETA)], 1)  # (y, x)
Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """A straight run of ink between two points (y, x) in px."""

    start: Points
    end: Points
    width: float  # median width in px

    @property
    def length(self) -> float:
        return float(np.linalg.norm(self.end - self.start))

    @property
    def direction(self) -> Points:
        return (self.end - self.start) / max(self.length, 1e-9)

    def across(self, points: Points) -> Points:
        """Return the signed distances of points (N, 2) from the line through the run, of shape (N,)."""
        along = self.direction
        return np.asarray((points - self.start) @ np.array([along[1], -along[0]]))

    def along(self, points: Points) -> Points:
        """Return the positions of points (N, 2) along the run, measured from its start, of shape (N,)."""
        return np.asarray((points - self.start) @ self.direction)

    def band(self, points: Points, room: float) -> NDArray[np.bool_]:
        """Return which points (N, 2) are within half the run's width plus `room` px of the run, of shape (N,)."""
        reach, t = self.width / 2 + room, self.along(points)
        return np.asarray((np.abs(self.across(points)) <= reach) & (t >= -reach) & (t <= self.length + reach))


def find_runs(mask: Mask, shortest: float) -> list[Run]:
    """Find straight runs of ink by a Hough transform, starting with the longest. No ink counts for two runs.

    Args:
        mask: The ink, of shape (H, W).
        shortest: The minimum length of a run in px.
    """
    factor = max(1, -(-max(mask.shape) // WORKING_SIDE))
    small = _pool(mask, factor)
    points = np.argwhere(small).astype(np.float64)
    if not len(points):
        return []
    depth = ndimage.distance_transform_edt(np.pad(small, 1))[1:-1, 1:-1][small]
    offset = int(np.ceil(np.hypot(*small.shape))) + 1
    cells = np.rint(points @ _NORMALS.T).astype(np.int64) + offset + np.arange(ANGLES) * (2 * offset + 1)
    votes = np.bincount(cells.ravel(), minlength=ANGLES * (2 * offset + 1))
    left = np.ones(len(points), bool)
    runs: list[Run] = []
    least = max(shortest / factor, 12.0)
    for _ in range(3 * MAX_RUNS):
        best = int(votes.argmax())
        if votes[best] < 0.7 * least or len(runs) == MAX_RUNS:
            break
        angle, distance = divmod(best, 2 * offset + 1)
        run = _trace(points, depth, _NORMALS[angle], distance - offset)  # may cross ink of earlier runs
        inside = run.band(points, 1.0) if run else left
        if run is None or run.length < max(least, SLENDER * run.width) or left[inside].mean() < 0.5:
            votes.reshape(ANGLES, -1)[max(angle - 1, 0) : angle + 2, max(distance - 1, 0) : distance + 2] = 0
            continue
        runs.append(run)
        taken = np.flatnonzero(left & inside)
        left[taken] = False
        votes -= np.bincount(cells[taken].ravel(), minlength=len(votes))
    center = (factor - 1) / 2  # of a pooled pixel
    return [Run(run.start * factor + center, run.end * factor + center, run.width * factor) for run in runs]


def _pool(mask: Mask, factor: int) -> Mask:
    height, width = (-(-length // factor) for length in mask.shape)
    padded = np.zeros((height * factor, width * factor), bool)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(height, factor, width, factor).any((1, 3)))


def _trace(points: Points, depth: Points, normal: Points, distance: float) -> Run | None:
    """Follow the ink along a line to its ends, fitting the line to it; None if the line has no ink."""
    along = np.array([normal[1], -normal[0]])
    at = normal * distance
    run = None
    for room in (2.5, 1.5):
        near = np.abs((points - at) @ normal) <= 1.0
        if near.sum() < 8:
            return None
        width = max(1.0, 2 * float(np.median(depth[near])) - 1)
        near = np.abs((points - at) @ normal) <= width / 2 + room
        some, t = points[near], (points[near] - at) @ along
        bins = np.rint(t - t.min()).astype(np.int64)
        counts = np.bincount(bins)
        first, last = _longest(counts >= max(1, 0.4 * width), int(2 + width / 2))
        if last - first < 8:
            return None
        usual = float(np.median(counts[first : last + 1][counts[first : last + 1] > 0]))
        plain = (bins >= first) & (bins <= last) & (counts[bins] <= 1.5 * usual)  # where no other ink crosses the run
        if plain.sum() < 8:
            return None
        slope, shift = np.polyfit(t[plain], (some[plain] - at) @ normal, 1)
        at = at + normal * shift
        turned = along + normal * slope
        along = turned / np.linalg.norm(turned)
        normal = np.array([-along[1], along[0]]) * np.sign(normal @ np.array([-along[1], along[0]]))
        ends = t.min() + np.array([first, last], np.float64)
        run = Run(at + along * ends[0], at + along * ends[1], width)
    return run


def _longest(filled: NDArray[np.bool_], gap: int) -> tuple[int, int]:
    """Return the first and last index of the longest sequence without a gap of more than `gap` places."""
    places = np.flatnonzero(filled)
    if not len(places):
        return 0, 0
    pieces = np.split(places, np.flatnonzero(np.diff(places) > gap + 1) + 1)
    longest = max(pieces, key=lambda piece: int(piece[-1] - piece[0]))
    return int(longest[0]), int(longest[-1])
