"""Openers of the supported image formats, which check the header against limits and decode nothing."""

import importlib
import io
import struct
from collections.abc import Callable

from PIL import Image, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from lenet_pl.image_io.tiff_directory import ORIENTATION, TiffDirectory, find_orientation

MAX_SIDE = 4096  # px
MAX_JPEG_SIDE = 8 * 2560  # px; JPEGs larger than MAX_SIDE are cheaply decoded at 1/2, 1/4 or 1/8 of their size
REDUCED_SIDE = 2560  # px; the longer side of such a JPEG is at most this
MAX_DECODED = 150_000_000  # bytes that a decoder may allocate, for a progressive JPEG of 48 MP or a HEIC of 24 MP

_TIFF_COMPRESSIONS = {2: "CCITT", 3: "fax", 4: "fax", 5: "LZW", 6: "JPEG", 7: "JPEG", 8: "Deflate", 32773: "PackBits"}

Opened = tuple[Image.Image, list[str], int]  # image, notes, EXIF orientation


class RejectedError(Exception):
    """The reason why a file is rejected, worded to follow its name."""


def _open_png(content: bytes) -> Opened:
    return _with_exif(PngImageFile(io.BytesIO(content)))


def _open_bmp(content: bytes) -> Opened:
    return BmpImageFile(io.BytesIO(content)), [], 1


def _open_jpeg(content: bytes) -> Opened:
    image = JpegImageFile(io.BytesIO(content))
    check_size(image.size, MAX_JPEG_SIDE)
    width, height = image.size
    # A decoder keeps two bytes per coefficient if there are several scans, or the first lacks a component
    if "progressive" in image.info or _components_in_first_scan(content) < image.layers:
        most = max(h * v for _, h, v, _ in image.layer)
        decoded = sum(2 * width * height * h * v / most for _, h, v, _ in image.layer)
        if decoded > MAX_DECODED:
            raise RejectedError(
                f"a progressive JPEG of {width}×{height} px, which takes {decoded / 1e6:.0f} MB to decode"
            )
    if max(image.size) <= MAX_SIDE:
        return _with_exif(image)
    scale = next(s for s in (2, 4, 8) if max(image.size) <= s * REDUCED_SIDE)
    image.draft(None, (max(1, width // scale), max(1, height // scale)))
    return _with_exif(image)


def _components_in_first_scan(content: bytes) -> int:
    """Count the components in the first scan. Return 0 for data between the segments, which Pillow skips."""
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":
        at += 1 if content[at + 1 : at + 2] == b"\xff" else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content[at + 4] if content[at : at + 2] == b"\xff\xda" and len(content) > at + 4 else 0


def _open_webp(content: bytes) -> Opened:
    if not features.check("webp"):
        raise RejectedError("a WebP image, which this build of Pillow cannot read")
    header = content[12:30].ljust(18, b"\0")  # Pillow's decoder allocates the image when it is created
    if header[:4] == b"VP8X":
        size = tuple(int.from_bytes(header[at : at + 3], "little") + 1 for at in (12, 15))
    elif header[:4] == b"VP8L":
        bits = int.from_bytes(header[9:13], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        size = tuple(int.from_bytes(header[at : at + 2], "little") & 0x3FFF for at in (14, 16))
    check_size(size, MAX_SIDE)
    return _with_exif(WebPImageFile(io.BytesIO(content)))


def _open_gif(content: bytes) -> Opened:
    check_size(struct.unpack("<HH", content[6:10]), MAX_SIDE)
    image = GifImageFile(io.BytesIO(content))
    check_size(image.size, MAX_SIDE)
    several = image.is_animated  # looks no further than the second frame
    return image, ["the first frame of several"] if several else [], 1


def _open_heic(content: bytes) -> Opened:
    try:
        plugin = importlib.import_module("pillow_heif")
    except ImportError:
        raise RejectedError("a HEIC image, which needs the package pillow-heif: pip install 'lenet_pl[heic]'") from None
    image: Image.Image = plugin.HeifImageFile(io.BytesIO(content))  # its decoder turns it upright
    decoded = 6 * image.width * image.height  # as YCbCr, as RGB, and in Pillow
    if decoded > MAX_DECODED:
        raise RejectedError(
            f"a HEIC image of {image.width}×{image.height} px, which takes {decoded / 1e6:.0f} MB to decode"
        )
    return image, [], 1


def _open_tiff(content: bytes) -> Opened:
    directory = TiffDirectory.read(content)
    if directory is None:
        raise RejectedError("corrupt (tags longer than the file)")
    check_size((directory.tags.get(256, 0), directory.tags.get(257, 0)), MAX_SIDE)
    compression = directory.tags.get(259, 1)
    if compression != 1:
        how = _TIFF_COMPRESSIONS.get(compression, f"unknown ({compression})")
        raise RejectedError(f"a TIFF image with {how} compression, of which only uncompressed files are supported")
    without_others = bytearray(content)
    for at in directory.others:
        without_others[at : at + 2] = b"\xff\xff"  # EXIF, maps and notes are directories that may point anywhere
    notes = ["the first page of several"] if directory.following else []
    return TiffImageFile(io.BytesIO(without_others)), notes, directory.tags.get(ORIENTATION, 1)


OPENERS: dict[str, Callable[[bytes], Opened]] = {
    **{"PNG": _open_png, "JPEG": _open_jpeg, "WebP": _open_webp, "BMP": _open_bmp, "GIF": _open_gif},
    **{"TIFF": _open_tiff, "HEIC": _open_heic},
}


def _with_exif(image: Image.Image) -> Opened:
    return image, [], find_orientation(image.info)


def check_size(size: tuple[int, ...], largest: int) -> None:
    """Raise RejectedError if a side of an image is longer than `largest` or shorter than 1, in px."""
    width, height = size
    if max(size) > largest:
        raise RejectedError(f"{width}×{height} px")
    if min(size) < 1:
        raise RejectedError("no pixels")
