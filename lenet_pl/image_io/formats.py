"""Formats of image files, recognized by their first bytes. Imports nothing heavy, so that errors are reported fast."""

import re

FORMATS = {  # supported formats, with the suffixes of their files in folders
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "HEIC": (".heic", ".heif", ".hif"),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
START = 4096  # bytes of a file that determine its format

_STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "a BigTIFF image",
    b"MM\0+": "a BigTIFF image",
    b"8BPS": "a PSD image",
    b"%PDF-": "a PDF file",
    b"%!PS": "a PostScript or EPS file",
    b"\xc5\xd0\xd3\xc6": "a PostScript or EPS file",
    b"\0\0\1\0": "an ICO image",
    b"\0\0\2\0": "a CUR image",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"\0\0\0\x0cJXL ": "a JPEG XL image",
    b"\xff\x0a": "a JPEG XL image",
    b"gimp xcf": "a GIMP image",
    b"\x93NUMPY": "a NumPy array",
    b"\x1a\x45\xdf\xa3": "a video",
    b"PK\3\4": "a ZIP archive or an office document",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an office document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"version https://git-lfs": "a Git LFS pointer, whose image was not fetched (git lfs pull)",
}
_BRANDS = {  # of the ISO base media file format, in order of precedence
    b"avif avis": "an AVIF image",
    b"heic heix heim heis hevc hevx hevm hevs mif1 msf1": "HEIC",
    b"crx ": "a Canon raw image",
    b"jxl ": "a JPEG XL image",
}
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # header sizes in bytes, as other files may also start with BM


def name_format(start: bytes) -> str:
    """Recognize a format by the first `START` bytes of a file.

    Returns:
        A key of `FORMATS`, or for other files a description such as "a PDF file".
    """
    for magic, name in _STARTS.items():
        if start.startswith(magic):
            return "a raw image" if name == "TIFF" and start[8:10] == b"CR" else name
    if start[:4] == b"RIFF":
        return "WebP" if start[8:12] == b"WEBP" else "a video or a sound"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if start[4:8] == b"ftyp":
        return _media(start)
    if start[128:132] == b"DICM":
        return "a DICOM image"
    if re.match(rb"P[1-7]\s", start):
        return "a PPM, PGM or PBM image"
    return _text(start)


def _media(start: bytes) -> str:
    length = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[at : at + 4] for at in (8, *range(16, length, 4))}
    return next(
        (name for known, name in _BRANDS.items() if brands & set(re.findall(rb"....", known + b" "))), "a video"
    )


def _text(start: bytes) -> str:
    """Describe a text file. An unknown binary file is described by its first bytes."""
    if not start.strip(b"\0"):
        return "a file of zeros" if start else "an empty file"
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = start.decode(encoding, "replace").lstrip().lower()
    if len(start) == START:
        text = text.rstrip("\ufffd")  # of a truncated character
    if "<svg" in text:
        return "an SVG drawing"
    if text.startswith("<!doctype html") or "<html" in text:
        return "an HTML page"
    if re.search(r"[\0-\x08\x0e-\x1a\x1c-\x1f\ufffd]", text):
        return f"an unknown format that starts with the bytes {start[:4].hex(' ')}"
    if text.startswith("<?xml"):
        return "an XML file"
    return "a JSON file" if text.startswith(("{", "[")) else "a text file"
