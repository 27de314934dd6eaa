"""Digits that stand apart in one photo: strokes put together, small writing left out, in the order of reading."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lenet_pl.photo.ink import Box, Mask, bounding_box

SMALL = 0.45  # of the largest digit's longer side: what is smaller is writing of another kind, or a speck
WIDE = 1.35  # times as wide as high: two digits may touch; of MNIST's test digits one in 2,000 is wider
MOST = 200  # parts of ink; with more it is no photo of some digits


def is_crowded(mask: Mask) -> bool:
    """Whether ink is in more pieces than are divided into digits, and so comes back as one."""
    return bool(ndimage.label(mask, np.ones((3, 3)))[1] > MOST)


def separate(mask: Mask) -> list[Mask]:
    """Divide ink into digits, lines from top to bottom, each from left to right; smaller writing is in none of them.

    Strokes of one digit that do not touch, as the bar of a 5, are put together: they lie above each other, or next to
    each other with hardly a gap.
    """
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    if not 1 < count <= MOST:
        return [mask]
    boxes = ndimage.find_objects(parts)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask]
    stroke = max(1.0, 4 * (float(depth.mean()) - 0.5))
    group = list(range(count))
    for a in range(count):
        for b in range(a + 1, count):
            if group[a] != group[b] and _belong(boxes[a], boxes[b], parts, (a + 1, b + 1), stroke):
                group = [group[a] if g == group[b] else g for g in group]
    digits = [np.isin(parts, [k + 1 for k in range(count) if group[k] == g]) for g in dict.fromkeys(group)]
    sizes = [_size(bounding_box(digit)) for digit in digits]
    large = [digit for digit, size in zip(digits, sizes, strict=True) if size >= SMALL * max(sizes)]
    if len(large) == 1:  # what is near to the only digit is one of its strokes
        box = bounding_box(large[0])
        near = [d for d in digits if max(map(_gap, box, bounding_box(d))) <= 0.4 * max(sizes)]
        return [np.logical_or.reduce(near)]
    return _in_order(large)


def is_wide(mask: Mask) -> bool:
    """Say whether one digit is so wide that it may be two that touch."""
    height, width = _sides(bounding_box(mask))
    return width > WIDE * height


def _size(box: Box) -> int:
    """Longer side of a digit; a row of letters is as large as it is high."""
    height, width = _sides(box)
    return height if width > 1.6 * height else max(height, width)


def _sides(box: Box) -> tuple[int, int]:
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start


def _gap(a: slice, b: slice) -> int:
    """Pixels from one interval to the other; below 0 is how far they overlap."""
    return int(max(a.start, b.start) - min(a.stop, b.stop))


def _belong(a: Box, b: Box, parts: NDArray[np.int32], labels: tuple[int, int], stroke: float) -> bool:
    high, wide = _gap(a[0], b[0]), _gap(a[1], b[1])
    (height_a, width_a), (height_b, width_b) = _sides(a), _sides(b)
    larger, smaller = sorted((max(height_a, width_a), max(height_b, width_b)), reverse=True)
    if max(high, wide) > 0.3 * larger:
        return False
    if smaller < SMALL * larger or min(height_a, height_b) < SMALL * max(height_a, height_b):
        return max(high, wide) <= 0.25 * larger  # a dot, a short stroke, or the bar of a 5 beside the rest
    if -wide >= 0.5 * min(width_a, width_b):  # one above the other
        even = min(height_a, height_b) >= 0.6 * max(height_a, height_b)
        return high <= (0.1 if even else 0.25) * larger
    near = max(0.6 * stroke, 0.07 * larger)  # of a thin pen that failed, the gap is wider than its stroke
    return max(high, wide) <= near and _distance(a, b, parts, labels) <= near


def _distance(a: Box, b: Box, parts: NDArray[np.int32], labels: tuple[int, int]) -> float:
    both = tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    here = parts[both]
    return float(ndimage.distance_transform_edt(here != labels[0])[here == labels[1]].min())


def _in_order(digits: list[Mask]) -> list[Mask]:
    lines: list[list[tuple[Box, Mask]]] = []
    for box, digit in sorted(((bounding_box(d), d) for d in digits), key=lambda pair: pair[0][0].start):
        for line in lines:
            if any(-_gap(box[0], other[0]) >= 0.5 * min(_sides(box)[0], _sides(other)[0]) for other, _ in line):
                line.append((box, digit))
                break
        else:
            lines.append([(box, digit)])
    return [digit for line in lines for _, digit in sorted(line, key=lambda pair: pair[0][1].start)]
