"""Untrusted image files, decoded only after their headers are checked against limits."""

import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from lenet_pl.errors import DataError
from lenet_pl.image_io.formats import FORMATS, START, name_format
from lenet_pl.image_io.openers import (
    MAX_JPEG_SIDE,
    MAX_SIDE,
    OPENERS,
    REDUCED_SIDE,
    RejectedError,
    check_size,
)

MAX_BYTES = 20_000_000  # bytes of a file
ACCEPTED = (
    f"must be a {', '.join(list(FORMATS)[:-1])} or {list(FORMATS)[-1]} image of at most {MAX_SIDE} px a side "
    f"({MAX_JPEG_SIDE} px for JPEG) and {MAX_BYTES // 1_000_000} MB"
)

_TURNS = {  # transpositions that turn an image upright, by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: Path | bytes, name: str, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Decode an image file upright, with its own bit depth and transparency.

    Of a GIF the first frame is decoded, of a TIFF the first page. A JPEG or HEIC image larger than `MAX_SIDE` is
    reduced to at most `REDUCED_SIDE`.

    Args:
        source: A file or its content. The content determines the format, not the name.
        name: Name of the image in errors.
        max_bytes: Maximum size of a content in bytes. That of a file is `MAX_BYTES`.

    Returns:
        The image. Its `info` contains "name", "notes" (a list of remarks for the user) if there are any, and
        "transparency" if a level is transparent.

    Raises:
        DataError: If the format is not supported, or the file is corrupt, animated or exceeds a limit.
    """
    image = open_image(source, name, max_bytes)
    try:
        with warnings.catch_warnings(action="ignore"), image:  # of corrupt metadata
            image.load()
            small = image.reduce(-(-max(image.size) // REDUCED_SIDE)) if max(image.size) > MAX_SIDE else image
            turn = _TURNS.get(image.info["orientation"])
            upright = small.copy() if turn is None else small.transpose(turn)
    except Exception as error:
        raise _corrupt(name, error) from None
    upright.info = {key: image.info[key] for key in ("name", "notes", "transparency") if key in image.info}
    return upright


def open_image(source: Path | bytes, name: str, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Open an image file and read its header, which gives `size` and `mode`, without decoding anything.

    Args:
        source: A file or its content.
        name: Name of the image in errors.
        max_bytes: Maximum size of a content in bytes.

    Raises:
        DataError: If the format is not supported, the header is corrupt, or the image is animated or exceeds a limit.
    """
    content = _content(source, name) if isinstance(source, Path) else source
    if len(content) > max_bytes:
        raise DataError(f"{name}: more than {max_bytes // 1_000_000} MB; {ACCEPTED}")
    kind = name_format(content[:START])
    if kind not in FORMATS:
        raise DataError(f"{name}: {kind}; {ACCEPTED}")
    try:
        with warnings.catch_warnings(action="ignore"):
            image, notes, orientation = OPENERS[kind](content)
            check_size(image.size, MAX_JPEG_SIDE if kind in ("JPEG", "HEIC") else MAX_SIDE)
            if kind not in ("GIF", "TIFF") and getattr(image, "is_animated", False):
                raise RejectedError("animated")
    except RejectedError as error:
        raise DataError(f"{name}: {error}; {ACCEPTED}") from None
    except Exception as error:  # decoders raise any error for a corrupt file
        raise _corrupt(name, error) from None
    image.info.update({"name": name, "orientation": orientation} | ({"notes": notes} if notes else {}))
    return image


def eight_bit(image: Image.Image) -> Image.Image:
    """Scale levels of more than 8 bits to 8 bits, by the number of bits in use. Pillow would clip them at 255.

    If fewer bits are in use than the image has, a remark is added to `info["notes"]`. Images with 8 bits are returned
    unchanged.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    deep = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0).clip(0)
    highest = float(deep.max(initial=0))
    if image.mode == "F" and highest <= 1:
        top = 1.0
    else:
        bits = next((b for b in (8, 10, 12, 14, 16, 24) if highest < 2**b), 32)
        top = 2.0**bits - 1
        if bits < 16:
            image.info.setdefault("notes", []).append(f"levels use {bits} bits and were scaled accordingly")
    gray = Image.fromarray((deep * (255 / top)).round().clip(0, 255).astype(np.uint8))
    clear = image.info.get("transparency")  # a single level
    if isinstance(clear, int):
        gray.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
    gray.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return gray


def _corrupt(name: str, error: Exception) -> DataError:
    return DataError(f"{name}: corrupt ({' '.join(str(error).split())[:100]}); {ACCEPTED}")


def _content(file: Path, name: str) -> bytes:
    """Read a file, up to one byte more than `MAX_BYTES`. Pipes and devices, which may block, are rejected."""
    try:
        if not file.is_dir() and not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{name}: a pipe, device or socket; {ACCEPTED}")
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}; {ACCEPTED}") from None
