"""Separation of the digits in one photo, in reading order and without small writing."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lenet_pl.photo.segmentation import Box, Mask, bounding_box

SMALL = 0.45  # fraction of the largest digit's longer side; smaller ink is other writing or a speck
WIDE = 1.35  # ratio of width to height from which two digits may touch; one in 2,000 MNIST test digits is wider
MAX_PIECES = 200  # connected pieces of ink; more of them are not a photo of a few digits


def is_crowded(mask: Mask) -> bool:
    """Return whether ink is in too many pieces to be separated into digits."""
    return bool(ndimage.label(mask, np.ones((3, 3)))[1] > MAX_PIECES)


def separate(mask: Mask) -> list[Mask]:
    """Separate ink into digits and leave out smaller writing.

    Strokes of one digit that do not touch, such as the bar of a 5, are grouped if they are above each other, or next to
    each other with a very small gap.

    Args:
        mask: The ink, of shape (H, W).

    Returns:
        One mask of shape (H, W) per digit, in lines from top to bottom and from left to right within a line. Ink in too
        many pieces is returned as one digit.
    """
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    if not 1 < count <= MAX_PIECES:
        return [mask]
    boxes = ndimage.find_objects(pieces)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask]
    stroke = max(1.0, 4 * (float(depth.mean()) - 0.5))
    group = list(range(count))
    for a in range(count):
        for b in range(a + 1, count):
            if group[a] != group[b] and _belong(boxes[a], boxes[b], pieces, (a + 1, b + 1), stroke):
                group = [group[a] if g == group[b] else g for g in group]
    digits = [np.isin(pieces, [k + 1 for k in range(count) if group[k] == g]) for g in dict.fromkeys(group)]
    sizes = [_size(bounding_box(digit)) for digit in digits]
    large = [digit for digit, size in zip(digits, sizes, strict=True) if size >= SMALL * max(sizes)]
    if len(large) == 1:  # ink near the only digit is one of its strokes
        box = bounding_box(large[0])
        near = [d for d in digits if max(map(_gap, box, bounding_box(d))) <= 0.4 * max(sizes)]
        return [np.logical_or.reduce(near)]
    return _in_order(large)


def is_wide(mask: Mask) -> bool:
    """Return whether a digit is wide enough to be two digits that touch."""
    height, width = _sides(bounding_box(mask))
    return width > WIDE * height


def _size(box: Box) -> int:
    """Return the longer side of a digit in px, or the height if it is as wide as a row of letters."""
    height, width = _sides(box)
    return height if width > 1.6 * height else max(height, width)


def _sides(box: Box) -> tuple[int, int]:
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start


def _gap(a: slice, b: slice) -> int:
    """Return the gap between two intervals in px; negative if they overlap."""
    return int(max(a.start, b.start) - min(a.stop, b.stop))


def _belong(a: Box, b: Box, pieces: NDArray[np.int32], labels: tuple[int, int], stroke: float) -> bool:
    """Return whether two pieces of ink are strokes of the same digit."""
    high, wide = _gap(a[0], b[0]), _gap(a[1], b[1])
    (height_a, width_a), (height_b, width_b) = _sides(a), _sides(b)
    larger, smaller = sorted((max(height_a, width_a), max(height_b, width_b)), reverse=True)
    if max(high, wide) > 0.3 * larger:
        return False
    if smaller < SMALL * larger or min(height_a, height_b) < SMALL * max(height_a, height_b):
        return max(high, wide) <= 0.25 * larger  # a dot, a short stroke, or the bar of a 5
    if -wide >= 0.5 * min(width_a, width_b):  # one above the other
        even = min(height_a, height_b) >= 0.6 * max(height_a, height_b)
        return high <= (0.1 if even else 0.25) * larger
    near = max(0.6 * stroke, 0.07 * larger)  # a skipping thin pen leaves gaps wider than its stroke
    return max(high, wide) <= near and _distance(a, b, pieces, labels) <= near


def _distance(a: Box, b: Box, pieces: NDArray[np.int32], labels: tuple[int, int]) -> float:
    """Return the smallest distance between two pieces of ink in px."""
    both = tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    here = pieces[both]
    return float(ndimage.distance_transform_edt(here != labels[0])[here == labels[1]].min())


def _in_order(digits: list[Mask]) -> list[Mask]:
    """Sort digits into reading order."""
    lines: list[list[tuple[Box, Mask]]] = []
    for box, digit in sorted(((bounding_box(d), d) for d in digits), key=lambda pair: pair[0][0].start):
        for line in lines:
            if any(-_gap(box[0], other[0]) >= 0.5 * min(_sides(box)[0], _sides(other)[0]) for other, _ in line):
                line.append((box, digit))
                break
        else:
            lines.append([(box, digit)])
    return [digit for line in lines for _, digit in sorted(line, key=lambda pair: pair[0][1].start)]
