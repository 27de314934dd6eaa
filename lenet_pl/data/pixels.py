"""Conversion of decoded images into one array, with a common intensity scale and number of channels."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from lenet_pl.errors import DataError
from lenet_pl.settings import FolderDataSettings

LOSSY = ("JPEG", "WebP", "HEIC")
NOISE = 8  # tolerated difference between channels of gray images after lossy compression; 7 levels were measured
GRAY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I", "F")
BITS = (8, 10, 12, 14, 16, 24)  # bit depths of cameras and scanners

Levels = npt.NDArray[np.float32]


class _Deep(NamedTuple):
    """An image of more than 8 bits, kept until the scale of all such images is known."""

    row: int
    levels: Levels  # (h, w)
    clear: Levels | None  # (h, w), 1 where the image is transparent
    integer: bool  # whether the levels are integers


class Pixels:
    """Collector of decoded images at one size, which determines range and color after the last image.

    Args:
        count: The maximum number of images.
        settings: The settings of the dataset, of which `resize_mode`, `background` and `color_mode` are used.
        size: The height and width of the result in px.
    """

    def __init__(self, count: int, settings: FolderDataSettings, size: int) -> None:
        self._settings, self._size = settings, size
        self._array = np.empty((count, 3 if settings.color_mode == "rgb" else 1, size, size), np.uint8)
        self._deep: list[_Deep] = []
        self._highest = {True: 0.0, False: 0.0}  # highest level of integer (True) and of float images (False)
        self._upper = 0  # highest level of color images with 16 bits per channel; Pillow reads only their upper byte
        self._first_16_bit_color = ""
        self._first_colored = ""
        self._colored = 0
        self.count = 0
        self.notes: list[str] = []

    def add(self, image: Image.Image, name: str, *, lossy: bool, wide_color: bool = False) -> None:
        """Append an image.

        Args:
            image: The upright image, of any mode.
            name: The name of the image in notes and errors.
            lossy: Whether the file format is lossy, so that the channels of a gray image may differ slightly.
            wide_color: Whether the file has color with 16 bits per channel.

        Raises:
            ValueError: If levels are negative or non-finite.
        """
        if image.mode.startswith(("I", "F")):
            self._add_deep(image)
        else:
            gray = image.mode in GRAY_MODES
            image = _opaque(image, self._settings.background)
            if gray or self._settings.color_mode == "gray":
                self._put(self._padded(self._fitted(image.convert("L"))))
            else:
                image = image.convert("RGB")
                self._judge_color(image, name, NOISE if lossy else 0)
                self._put(self._padded(self._fitted(image)))
            if wide_color:
                self._first_16_bit_color = self._first_16_bit_color or name
                self._upper = max(self._upper, int(np.asarray(image).max()))
        self.count += 1

    def finish(self) -> npt.NDArray[np.uint8]:
        """Return all images, uint8 of shape (N, C, S, S), and collect notes for the user.

        Raises:
            DataError: If color images with 16 bits per channel use too little of their range.
        """
        if self._first_16_bit_color and self._upper < 128:
            raise DataError(
                f"{self._first_16_bit_color}: got color with 16 bits per channel and levels up to "
                f"{256 * self._upper + 255} in all such images, of which only the upper 8 bits are read; must use the "
                "whole range, or be saved with 8 bits"
            )
        tops = {integer: self._top(integer) for integer in {deep.integer for deep in self._deep}}
        for deep in self._deep:
            levels = deep.levels * (255 / tops[deep.integer])
            if deep.clear is not None:
                levels += deep.clear * self._settings.background
            image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
            self._array[deep.row] = np.asarray(self._padded(image))
        images = self._array[: self.count]
        if self._settings.color_mode != "auto" or images.shape[1] == 1:
            return images
        if not self._colored:
            self.notes.append(
                "all images are gray, although some are saved as color; data.color_mode=rgb keeps three channels"
            )
            return _gray(images)
        if self._colored < self.count:
            self.notes.append(
                f"using color, because {self._colored:,} of {self.count:,} images are colored ({self._first_colored}); "
                "data.color_mode=gray converts all to gray"
            )
        return images

    def _top(self, integer: bool) -> float:
        """Return the level that becomes 255 in all integer or in all float images of more than 8 bits."""
        highest = self._highest[integer]
        bits = next((b for b in BITS if highest < 2**b), 32)
        top = 2.0**bits - 1
        if not integer and highest < 2:  # the range is 0 to 1, which resampling may exceed slightly
            top = max(1.0, highest)
        if top != 2**16 - 1:
            number = sum(deep.integer == integer for deep in self._deep)
            self.notes.append(
                f"{number:,} images of more than 8 bits have levels up to {highest:g}; "
                f"0 to {top:g} is scaled to 0 to 255 in all of them"
            )
        return top

    def _add_deep(self, image: Image.Image) -> None:
        levels = np.asarray(image).astype(np.float32)
        if not np.isfinite(levels).all():
            raise ValueError("non-finite levels")
        if levels.min() < 0:
            raise ValueError(f"negative levels, down to {levels.min():g}")
        integer = image.mode != "F"
        self._highest[integer] = max(self._highest[integer], float(levels.max()))
        transparent, clear = image.info.get("transparency"), None
        if isinstance(transparent, int):  # a single transparent level
            at = levels == transparent
            levels[at] = 0
            clear = np.asarray(self._fitted(Image.fromarray(at.astype(np.float32))))
        self._deep.append(_Deep(self.count, np.asarray(self._fitted(Image.fromarray(levels))), clear, integer))

    def _judge_color(self, image: Image.Image, name: str, noise: int) -> None:
        """Count an image if its channels differ, and widen the array to three channels at the first RGB image."""
        if self._array.shape[1] == 1:
            wide = np.empty((len(self._array), 3, *self._array.shape[2:]), np.uint8)
            wide[: self.count] = self._array[: self.count]
            self._array = wide
        if self._settings.color_mode == "auto":
            pixels = np.asarray(image)
            if _is_colored(pixels[::7, ::7], noise) or _is_colored(pixels, noise):  # a few pixels usually suffice
                self._colored += 1
                self._first_colored = self._first_colored or name

    def _put(self, image: Image.Image) -> None:
        pixels = np.asarray(image)
        self._array[self.count] = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def _fitted(self, image: Image.Image) -> Image.Image:
        """Resize an image; with resize_mode=pad only its longer side gets the final size."""
        wanted = self._size, self._size
        if self._settings.resize_mode == "pad":
            scale = self._size / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)  # thin images keep at least 1 px
            wanted = width, height
        return image if image.size == wanted else image.resize(wanted, Image.Resampling.BILINEAR)

    def _padded(self, image: Image.Image) -> Image.Image:
        background = self._settings.background
        color = background if image.mode == "L" else (background,) * 3
        return ImageOps.pad(image, (self._size, self._size), Image.Resampling.BILINEAR, color=color)


def _is_colored(pixels: npt.NDArray[np.uint8], noise: int) -> bool:
    """Whether the channels of any pixel differ by more than `noise`; `pixels` has shape (h, w, 3)."""
    red, green, blue = np.moveaxis(pixels, 2, 0)
    highest, lowest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return bool((highest - lowest).max() > noise)


def _opaque(image: Image.Image, background: int) -> Image.Image:
    if not image.has_transparency_data:
        return image
    back = Image.new("RGBA", image.size, (*[background] * 3, 255))
    return Image.alpha_composite(back, image.convert("RGBA"))


def _gray(images: npt.NDArray[np.uint8], block: int = 1000) -> npt.NDArray[np.uint8]:
    """Convert to gray of shape (N, 1, S, S) as Pillow does (ITU-R BT.601), which preserves equal channels."""
    gray = np.empty((len(images), 1, *images.shape[2:]), np.uint8)
    for start in range(0, len(images), block):
        rgb = images[start : start + block].astype(np.uint32)
        gray[start : start + block, 0] = (rgb[:, 0] * 19595 + rgb[:, 1] * 38470 + rgb[:, 2] * 7471 + 0x8000) >> 16
    return gray
