"""Inversion of dark ink on light paper into light ink on black, as in the training images."""

from typing import Literal

from lenet_pl.photo import segmentation


def should_invert(gray: segmentation.Gray, setting: bool | Literal["auto"]) -> bool:
    """Return whether a photo is to be inverted.

    Args:
        gray: The levels of the photo in [0, 1], (H, W).
        setting: The setting `photo.invert`; "auto" inverts photos with a light background.
    """
    return is_light_background(gray) if setting == "auto" else setting


def is_light_background(gray: segmentation.Gray) -> bool:
    """Return whether the foreground is darker than the background."""
    gray = segmentation.shrink(gray, 256)  # averages out noise of single pixels
    background = segmentation.background_level(gray)
    return background - float(gray.min()) > float(gray.max()) - background
