import numpy as np
import pytest

from lenet_pl.photo.digits import is_wide, separate
from lenet_pl.photo.segmentation import bounding_box


def ink(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Filled boxes: top, left, bottom, right."""
    mask = np.zeros((200, 300), bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


BODY = (60, 50, 160, 70)  # a stroke of 20 × 100 px


@pytest.mark.parametrize(
    "strokes",
    [
        [BODY],
        [BODY, (36, 55, 50, 120)],  # the bar of a 5
        [BODY, (100, 75, 110, 100)],  # a short stroke beside it
        [BODY, (40, 50, 50, 60)],  # a dot above it
        [BODY, (60, 76, 160, 96)],  # a stroke as high, with hardly a gap
    ],
)
def test_strokes_of_one_digit_stay_together(strokes: list[tuple[int, int, int, int]]) -> None:
    [digit] = separate(ink(*strokes))
    assert np.array_equal(digit, ink(*strokes))


def test_digits_come_in_the_order_of_reading() -> None:
    boxes = [(10, 20, 70, 50), (14, 150, 74, 180), (110, 10, 170, 40), (105, 220, 165, 250)]
    found = [bounding_box(digit) for digit in separate(ink(*boxes[::-1]))]
    assert [(rows.start, columns.start) for rows, columns in found] == [box[:2] for box in boxes]


def test_small_writing_apart_from_digits_is_in_none_of_them() -> None:
    large = [(40, 20, 140, 60), (40, 120, 140, 160)]
    digits = separate(ink(*large, (170, 280, 180, 288)))
    assert np.array_equal(np.logical_or.reduce(digits), ink(*large))


def test_wide_ink_may_be_two_digits() -> None:
    assert is_wide(ink((50, 20, 150, 200)))
    assert not is_wide(ink((50, 20, 150, 130)))
