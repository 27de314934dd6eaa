"""Image files of strangers: opened within limits that the header is asked for before anything is decoded."""

import importlib
import io
import stat
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from lenet_pl.errors import DataError
from lenet_pl.image_format import FORMATS, START, name_format
from lenet_pl.tiff_directory import ORIENTATION, TiffDirectory, find_orientation

MAX_BYTES = 20_000_000  # of a file
MAX_SIDE = 4096  # px
MAX_JPEG_SIDE = 8 * 2560  # px; beyond MAX_SIDE, JPEGs are decoded at 1/2, 1/4 or 1/8 of their size, and so cheaply
REDUCED_SIDE = 2560  # px, the longer side of such a JPEG at most
MAX_DECODED = 150_000_000  # bytes that a decoder may hold: a progressive JPEG of 48 MP, a HEIC of 24 MP
ACCEPTED = (
    f"accepted are {', '.join(list(FORMATS)[:-1])} and {list(FORMATS)[-1]} images of at most {MAX_SIDE} px a side "
    f"({MAX_JPEG_SIDE} px for JPEG) and {MAX_BYTES // 1_000_000} MB"
)

_TURNS = {  # what brings a picture upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_COMPRESSIONS = {2: "CCITT", 3: "fax", 4: "fax", 5: "LZW", 6: "JPEG", 7: "JPEG", 8: "Deflate", 32773: "PackBits"}


class _RefusedError(Exception):
    """Why a file is not read, in words that follow its name."""


def read_image(source: Path | bytes, name: str, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Decode an image file: upright, in the depth and with the transparency that it has.

    Of a GIF it is the first frame, of a TIFF the first page. A JPEG or HEIC beyond `MAX_SIDE` comes reduced to
    `REDUCED_SIDE` or less.

    Args:
        source: a file, or its content; what it is, its content says and not its name.
        name: what errors call it.
        max_bytes: of a content; those of a file are fixed.

    Returns:
        An image whose `info` holds "name", where there are any "notes" (a list of what a user should know), and where
        a level is transparent "transparency".

    Raises:
        DataError: another format, damaged, animated, or beyond the limits.
    """
    image = open_image(source, name, max_bytes)
    try:
        with warnings.catch_warnings(action="ignore"), image:  # of damaged metadata
            image.load()
            small = image.reduce(-(-max(image.size) // REDUCED_SIDE)) if max(image.size) > MAX_SIDE else image
            turn = _TURNS.get(image.info["orientation"])
            upright = small.copy() if turn is None else small.transpose(turn)
    except Exception as error:
        raise _damaged(name, error) from None
    upright.info = {key: image.info[key] for key in ("name", "notes", "transparency") if key in image.info}
    return upright


def open_image(source: Path | bytes, name: str, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Read the header of an image file: `size` and `mode` are known, and nothing has been decoded.

    Args:
        source: a file, or its content.
        name: what errors call it.
        max_bytes: of a content.

    Raises:
        DataError: another format, a damaged header, animated, or beyond the limits.
    """
    content = _content(source, name) if isinstance(source, Path) else source
    if len(content) > max_bytes:
        raise DataError(f"{name}: more than {max_bytes // 1_000_000} MB; {ACCEPTED}")
    kind = name_format(content[:START])
    if kind not in FORMATS:
        raise DataError(f"{name}: {kind}; {ACCEPTED}")
    try:
        with warnings.catch_warnings(action="ignore"):
            image, notes, orientation = _OPEN[kind](content)
            _check_size(image.size, MAX_JPEG_SIDE if kind in ("JPEG", "HEIC") else MAX_SIDE)
            if kind not in ("GIF", "TIFF") and getattr(image, "is_animated", False):
                raise _RefusedError("animated")
    except _RefusedError as error:
        raise DataError(f"{name}: {error}; {ACCEPTED}") from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise _damaged(name, error) from None
    image.info.update({"name": name, "orientation": orientation} | ({"notes": notes} if notes else {}))
    return image


def eight_bit(image: Image.Image) -> Image.Image:
    """Scale deeper levels to 8 bit, by the number of bits that they use; Pillow would cut off above 255.

    Where they use fewer bits than the image has, that is added to `info["notes"]`. Images of 8 bit are returned as
    they are.
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
            image.info.setdefault("notes", []).append(f"levels use {bits} bits and were scaled by them")
    grey = Image.fromarray((deep * (255 / top)).round().clip(0, 255).astype(np.uint8))
    clear = image.info.get("transparency")  # one level
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(deep == clear, 0, 255).astype(np.uint8)))
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return grey


_Opened = tuple[Image.Image, list[str], int]  # image, notes, EXIF orientation


def _open_png(content: bytes) -> _Opened:
    return _with_exif(PngImageFile(io.BytesIO(content)))


def _open_bmp(content: bytes) -> _Opened:
    return BmpImageFile(io.BytesIO(content)), [], 1


def _open_jpeg(content: bytes) -> _Opened:
    image = JpegImageFile(io.BytesIO(content))
    _check_size(image.size, MAX_JPEG_SIDE)
    width, height = image.size
    # If a scan has not all components, or is one of several, two bytes of each coefficient are kept until the last.
    if "progressive" in image.info or _components_in_first_scan(content) < image.layers:
        most = max(h * v for _, h, v, _ in image.layer)
        decoded = sum(2 * width * height * h * v / most for _, h, v, _ in image.layer)
        if decoded > MAX_DECODED:
            raise _RefusedError(
                f"a progressive JPEG of {width}×{height} px, which takes {decoded / 1e6:.0f} MB to decode"
            )
    if max(image.size) <= MAX_SIDE:
        return _with_exif(image)
    scale = next(s for s in (2, 4, 8) if max(image.size) <= s * REDUCED_SIDE)
    image.draft(None, (max(1, width // scale), max(1, height // scale)))
    return _with_exif(image)


def _components_in_first_scan(content: bytes) -> int:
    """Count them; 0 if there is something between the segments, which Pillow passes over."""
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":
        at += 1 if content[at + 1 : at + 2] == b"\xff" else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content[at + 4] if content[at : at + 2] == b"\xff\xda" and len(content) > at + 4 else 0


def _open_webp(content: bytes) -> _Opened:
    if not features.check("webp"):
        raise _RefusedError("a WebP image, which this build of Pillow cannot read")
    header = content[12:30].ljust(18, b"\0")  # Pillow's decoder makes room for the picture when it is made
    if header[:4] == b"VP8X":
        size = tuple(int.from_bytes(header[at : at + 3], "little") + 1 for at in (12, 15))
    elif header[:4] == b"VP8L":
        bits = int.from_bytes(header[9:13], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        size = tuple(int.from_bytes(header[at : at + 2], "little") & 0x3FFF for at in (14, 16))
    _check_size(size, MAX_SIDE)
    return _with_exif(WebPImageFile(io.BytesIO(content)))


def _open_gif(content: bytes) -> _Opened:
    _check_size(struct.unpack("<HH", content[6:10]), MAX_SIDE)
    image = GifImageFile(io.BytesIO(content))
    _check_size(image.size, MAX_SIDE)
    several = image.is_animated  # looks for a second frame, and for no more
    return image, ["the first frame of several"] if several else [], 1


def _open_heic(content: bytes) -> _Opened:
    try:
        plugin = importlib.import_module("pillow_heif")
    except ImportError:
        raise _RefusedError("a HEIC image, which needs the package pillow-heif: pip install 'lenet_pl[heic]'") from None
    image: Image.Image = plugin.HeifImageFile(io.BytesIO(content))  # turned upright by its decoder
    decoded = 6 * image.width * image.height  # as YCbCr, as RGB, and in Pillow
    if decoded > MAX_DECODED:
        raise _RefusedError(
            f"a HEIC image of {image.width}×{image.height} px, which takes {decoded / 1e6:.0f} MB to decode"
        )
    return image, [], 1


def _open_tiff(content: bytes) -> _Opened:
    directory = TiffDirectory.read(content)
    if directory is None:
        raise _RefusedError("damaged (tags that are longer than the file)")
    _check_size((directory.tags.get(256, 0), directory.tags.get(257, 0)), MAX_SIDE)
    compression = directory.tags.get(259, 1)
    if compression != 1:
        how = _TIFF_COMPRESSIONS.get(compression, f"unknown ({compression})")
        raise _RefusedError(f"a TIFF image with {how} compression, of which only files without compression are read")
    bare = bytearray(content)
    for at in directory.others:
        bare[at : at + 2] = b"\xff\xff"  # EXIF, maps, notes: directories of their own, which may lead anywhere
    notes = ["the first page of several"] if directory.following else []
    return TiffImageFile(io.BytesIO(bare)), notes, directory.tags.get(ORIENTATION, 1)


_OPEN: dict[str, Callable[[bytes], _Opened]] = {
    **{"PNG": _open_png, "JPEG": _open_jpeg, "WebP": _open_webp, "BMP": _open_bmp, "GIF": _open_gif},
    **{"TIFF": _open_tiff, "HEIC": _open_heic},
}


def _with_exif(image: Image.Image) -> _Opened:
    return image, [], find_orientation(image.info)


def _check_size(size: tuple[int, ...], most: int) -> None:
    width, height = size
    if max(size) > most:
        raise _RefusedError(f"{width}×{height} px")
    if min(size) < 1:
        raise _RefusedError("no pixels")


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(f"{name}: damaged ({' '.join(str(error).split())[:100]}); {ACCEPTED}")


def _content(file: Path, name: str) -> bytes:
    """Read a file, but not one that is too large to be taken, that never ends, or that never begins."""
    try:
        if not file.is_dir() and not stat.S_ISREG(file.stat().st_mode):
            raise DataError(f"{name}: a pipe, device or socket; {ACCEPTED}")
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}; {ACCEPTED}") from None
