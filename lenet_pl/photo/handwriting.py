"""Ink of handwriting: found in a photo, and scaled and centered as in the images of a dataset."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from lenet_pl.photo import segmentation
from lenet_pl.photo.digits import is_wide
from lenet_pl.photo.frame import without_frame
from lenet_pl.settings.predict import PhotoSettings

EDGE = 0.15  # level of ink from which it counts for the bounding box

FAINT = 0.12  # contrast, as a fraction of the range from black to white, below which a note is added


class DigitLayout(NamedTuple):
    """The position of the handwriting in the images of a dataset, light on black."""

    box: float  # longer side of the ink, as a fraction of the image's side
    by_mass: bool  # whether the center of mass is in the middle, instead of the center of the bounding box


HANDWRITING = {
    "mnist": DigitLayout(20 / 28, by_mass=True),  # LeCun et al. 1998, and measured
    "qmnist": DigitLayout(20 / 28, by_mass=True),  # Yadav and Bottou 2019, same as MNIST
    "emnist": DigitLayout(24 / 28, by_mass=False),  # Cohen et al. 2017
    "kmnist": DigitLayout(1.0, by_mass=False),
    "usps": DigitLayout(1.0, by_mass=False),
    "digits": DigitLayout(1.0, by_mass=False),  # measured: all are 8 of 8 px high
}


def find_handwriting(
    gray: segmentation.Gray, inverted: bool, settings: PhotoSettings
) -> tuple[segmentation.Gray, segmentation.Mask | None, list[str]]:
    """Find the ink: its levels, light on black, its mask, and notes about doubts."""
    if settings.remove_background is False:
        found = 1 - gray if inverted else gray
        return found, segmentation.find_ink(found), []
    found = segmentation.flatten_illumination(gray, inverted)
    mask = segmentation.mark_ink(found)
    if mask is None:
        return found, None, []
    unframed = without_frame(mask)
    mask = segmentation.without_specks(unframed.ink)
    notes = ["lines next to the digit may be mistaken for strokes"] if unframed.doubtful else []
    paper = ~ndimage.binary_dilation(mask, iterations=5)
    if paper.any() and abs(float(np.median(gray[mask])) - float(np.median(gray[paper]))) < FAINT:
        notes.append("hardly any contrast")
    return segmentation.without_lines(found, unframed.lines, mask), mask, notes


def digit_doubts(digit: segmentation.Mask) -> list[str]:
    """Note why a digit may be cut off, or may be two."""
    rim = digit[0].any() or digit[-1].any() or digit[:, 0].any() or digit[:, -1].any()
    notes = ["reaches the edge of the photo and may be cut off"] if rim else []
    return [*notes, "wide enough for two digits that touch"] if is_wide(digit) else notes


def place_digit(
    found: segmentation.Gray, mask: segmentation.Mask, side: int, form: DigitLayout, settings: PhotoSettings
) -> segmentation.Gray:
    """Scale and center ink as in the dataset."""
    if settings.remove_background is not False:
        found = segmentation.extract_foreground(found, mask)
        mask = found > EDGE
    if settings.center is False:
        return segmentation.fit_into(found, side, side, by_mass=False)
    found, box = found[segmentation.bounding_box(mask)], round(side * form.box)
    if settings.remove_background is not False:
        found = segmentation.shrink(found, 8 * box)
        found = segmentation.dilate_strokes(found, segmentation.STROKE * max(found.shape) / box)
        found = found[segmentation.bounding_box(found > EDGE)]
    return segmentation.fit_into(found, side, box, by_mass=form.by_mass)
