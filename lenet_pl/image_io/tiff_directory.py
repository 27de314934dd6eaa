"""The first directory of a TIFF or EXIF structure, read without trusting its entries."""

import re
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

ORIENTATION = 274
_LAYOUT = frozenset(  # tags that describe the layout of the pixels
    (256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339)
)
_MOST_VALUES = 262_144  # per layout tag; no image within the limits has as many tiles or colors
_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
}  # size of a value, by its type


class TiffDirectory(NamedTuple):
    """The entries of a directory.

    Attributes:
        tags: First values of the entries with integers of 16 or 32 bits, by tag.
        others: Offsets of the entries that do not describe the pixels, in bytes.
        following: Offset of the next directory in bytes, or 0 if there is none.
    """

    tags: dict[int, int]
    others: list[int]
    following: int

    @classmethod
    def read(cls, content: bytes) -> "TiffDirectory | None":
        """Read the entries, with only the first of their values.

        Returns:
            The directory. None if the values of all entries together are longer than the content, since corrupt entries
            may claim any number of values, and all the same ones.

        Raises:
            struct.error: If the content ends before the directory.
        """
        order = "<" if content[:2] == b"II" else ">"
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        tags: dict[int, int] = {}
        others: list[int] = []
        length = 0
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", content, at)
            size = _BYTES.get(kind, 1) * values
            length += size
            if length > len(content) or (tag in _LAYOUT and values > _MOST_VALUES):
                return None
            if tag not in _LAYOUT:
                others.append(at)
            if kind in (3, 4) and values:
                where = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", content, at + 8)[0]
                (tags[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", content, where)
        after = content[start + 2 + 12 * count :][:4]
        return cls(tags, others, int.from_bytes(after, "little" if order == "<" else "big"))


def find_orientation(info: Mapping[Any, Any]) -> int:
    """Return the orientation, 1 to 8, from the EXIF or XMP data in the `info` of a Pillow image. 1 if there is none.

    Pillow's own reader is not used, since it follows every EXIF entry wherever it points.
    """
    block = info.get("exif", b"")
    if not block and "Raw profile type exif" in info:  # as ImageMagick writes it
        digits = "".join(str(info["Raw profile type exif"]).split("\n")[3:])
        block = bytes.fromhex(digits) if re.fullmatch(r"[0-9a-fA-F]*", digits) and len(digits) % 2 == 0 else b""
    try:
        directory = TiffDirectory.read(block.removeprefix(b"Exif\0\0"))
        if directory and ORIENTATION in directory.tags:
            return directory.tags[ORIENTATION]
    except struct.error:
        pass  # corrupt EXIF, while the pixels may be intact
    text = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', text if isinstance(text, bytes) else str(text).encode())
    return int(found[1]) if found else 1
