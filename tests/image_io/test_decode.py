import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from orientations import STORED
from PIL import Image, ImageOps

from lenet_pl.errors import DataError
from lenet_pl.image_io.decode import MAX_SIDE, REDUCED_SIDE, eight_bit, open_image, read_image
from lenet_pl.image_io.formats import FORMATS, SUFFIXES, name_format

PHOTO = Image.effect_noise((60, 40), 60)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    plugin = pytest.importorskip("pillow_heif.as_plugin", reason="needs pillow-heif")
    stream = io.BytesIO()
    image.encoderinfo = {"quality": -1, **options}  # what `save` sets; registering the plugin would be for all tests
    plugin._save_heif(image, stream, "")
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_each_format_is_read_pixel_for_pixel_whatever_the_file_is_called(kind: str, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(encoded(PHOTO, kind, **({"lossless": True} if kind == "WEBP" else {})))
    for source in (tmp_path / "photo.jpg", (tmp_path / "photo.jpg").read_bytes()):
        image = read_image(source, "photo.jpg")
        assert image.info == {"name": "photo.jpg"}
        assert np.array_equal(np.asarray(image.convert("L")), np.asarray(PHOTO))


def test_a_jpeg_within_the_limit_is_what_pillow_decodes() -> None:
    content = encoded(PHOTO, "JPEG")
    assert np.array_equal(np.asarray(read_image(content, "it")), np.asarray(Image.open(io.BytesIO(content))))


def test_a_heic_is_read_and_turned_upright_once() -> None:
    smooth = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    image = read_image(heic(smooth), "photo.heic")
    assert np.abs(np.asarray(image, np.int64) - np.asarray(smooth)).max() <= 4
    exif = Image.Exif()
    exif[0x112] = 6
    assert read_image(heic(smooth, exif=exif.tobytes()), "photo.heic").size == (40, 60)


def test_without_pillow_heif_a_heic_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic(PHOTO.convert("RGB"))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"^it: a HEIC image, which needs .* pip install 'lenet_pl\[heic\]'; must be"):
        read_image(content, "it")


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_image_is_turned_as_its_exif_says(kind: str, orientation: int) -> None:
    method = STORED[orientation]
    stored = PHOTO if method is None else PHOTO.transpose(method)
    exif = Image.Exif()
    exif[0x112] = orientation
    content = encoded(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    image = read_image(content, "it")
    assert image.size == PHOTO.size
    assert np.array_equal(np.asarray(image), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content)))))


def test_an_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    assert read_image(encoded(PHOTO, "JPEG", xmp=xmp), "it").size == (40, 60)


def test_the_first_frame_of_several_is_read_and_noted() -> None:
    frames = [Image.new("L", (30, 20), level) for level in (10, 200, 90)]
    for kind, note in (("GIF", "the first frame of several"), ("TIFF", "the first page of several")):
        image = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), "it")
        assert image.info["notes"] == [note]
        assert set(np.asarray(image.convert("L")).ravel()) == {10}
        assert "notes" not in read_image(encoded(frames[0], kind), "it").info


@pytest.mark.parametrize("size", [(8064, 6048), (4624, 3472), (16320, 1200)])
def test_a_jpeg_beyond_the_limit_is_decoded_at_reduced_size(size: tuple[int, int]) -> None:
    ramp = Image.linear_gradient("L").resize(size)
    image = read_image(encoded(ramp, "JPEG"), "phone")
    assert 1200 <= max(image.size) <= REDUCED_SIDE
    assert image.width / image.height == pytest.approx(size[0] / size[1], rel=0.01)
    expected = ramp.resize(image.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(image, np.int64) - np.asarray(expected)).max() <= 6


MEASURE = """
import resource, sys
from lenet_pl.photo.read_photo import read_photo
from pathlib import Path
from PIL import Image
read_photo(Path(sys.argv[1]), "first").convert("L")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sys.argv[2:]:
    read_photo(Path(file), "phone").convert("L")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_a_photo_of_48_megapixels_takes_less_than_200_megabytes(tmp_path: Path) -> None:
    """Measured in a process of its own, as the peak of this one is higher already."""
    (tmp_path / "first.jpg").write_bytes(encoded(PHOTO, "JPEG"))
    big = Image.effect_noise((2016, 1512), 30).resize((8064, 6048)).convert("RGB")
    exif = Image.Exif()
    exif[0x112] = 6
    big.save(tmp_path / "plain.jpg", quality=90, exif=exif)
    big.save(tmp_path / "progressive.jpg", quality=90, progressive=True, exif=exif)
    big.resize((4624, 3472)).save(tmp_path / "smaller.jpg", quality=90, exif=exif)
    files = [str(tmp_path / f"{name}.jpg") for name in ("first", "plain", "progressive", "smaller")]
    done = subprocess.run([sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 200


def frame(marker: int, width: int, height: int, in_scan: int) -> bytes:
    """Write the headers of a JPEG with three full components, of which the first scan has so many."""
    components = b"".join(bytes([k, 0x11, 0]) for k in (1, 2, 3))
    scan = bytes([in_scan]) + b"".join(bytes([k, 0]) for k in range(1, in_scan + 1)) + b"\0\x3f\0"
    start = struct.pack(">BHHB", 8, height, width, 3) + components
    return (
        b"\xff\xd8\xff\xdb\0\x43\0" + bytes([1] * 64)
        + b"\xff" + bytes([marker]) + struct.pack(">H", len(start) + 2) + start
        + b"\xff\xda" + struct.pack(">H", len(scan) + 2) + scan + bytes(100)
    )  # fmt: skip


def test_a_jpeg_that_would_be_kept_whole_while_it_is_decoded_is_refused() -> None:
    for marker, in_scan in ((0xC2, 3), (0xC0, 1)):
        with pytest.raises(DataError, match=r"^it: a progressive JPEG of 8000×6000 px, which takes 288 MB to decode; "):
            open_image(frame(marker, 8000, 6000, in_scan), "it")
    assert max(open_image(frame(0xC0, 8000, 6000, 3), "it").size) <= REDUCED_SIDE


OTHERS = {
    b"8BPS\0\1" + bytes(40): "a PSD image",
    b"%PDF-1.7\n%\xe2\xe3": "a PDF file",
    b"%!PS-Adobe-3.0 EPSF-3.0\n": "a PostScript or EPS file",
    b"<!DOCTYPE html><title>404 Not Found</title>": "an HTML page",
    b"\xef\xbb\xbf\r\n <html><body>": "an HTML page",
    b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>": "an SVG drawing",
    b"<?xml version='1.0'?><plist/>": "an XML file",
    '{"error": "größer"}'.encode(): "a JSON file",
    b"Dear Sir,\nplease": "a text file",
    b"BMW is no bitmap": "a text file",
    b"version https://git-lfs.github.com": "a Git LFS pointer, whose image was not fetched (git lfs pull)",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf": "an AVIF image",
    b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf": "an AVIF image",
    b"\0\0\0\x18ftypmp42\0\0\0\0isommp42": "a video",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ": "a video",
    b"RIFF\0\0\0\0AVI LIST": "a video or a sound",
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000 image",
    b"PK\3\4\x14\0": "a ZIP archive or an office document",
    b"\x93NUMPY\1\0": "a NumPy array",
    b"P5\n3 3\n255\n" + bytes(9): "a PPM, PGM or PBM image",
    bytes(128) + b"DICM": "a DICOM image",
    b"II*\0\x10\0\0\0CR\2\0": "a raw image",
    b"II+\0\x08\0\0\0": "a BigTIFF image",
    b"": "an empty file",
    bytes(500): "a file of zeros",
    b"\xde\xad\xbe\xef": "an unknown format that starts with the bytes de ad be ef",
}


@pytest.mark.parametrize("content", OTHERS, ids=OTHERS.values())
def test_other_formats_are_called_by_their_names(content: bytes) -> None:
    with pytest.raises(DataError, match=rf"^photo\.png: {re.escape(OTHERS[content])}; must be a PNG, JPEG, ") as error:
        read_image(content, "photo.png")
    assert "\n" not in str(error.value)


def test_the_formats_that_are_read_are_told_apart_by_their_first_bytes() -> None:
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"):
        assert name_format(encoded(PHOTO, kind)[:64]).upper() == kind
    assert name_format(encoded(PHOTO, "TIFF", big_tiff=False)[:8]) == "TIFF"
    assert name_format(heic(PHOTO.convert("RGB"))[:64]) == "HEIC"
    assert set(SUFFIXES) >= {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic"}
    assert len(FORMATS) == 7


def test_a_compressed_tiff_is_named_with_its_compression() -> None:
    for how, name in (("tiff_lzw", "LZW"), ("tiff_adobe_deflate", "Deflate"), ("packbits", "PackBits")):
        with pytest.raises(DataError, match=f"^it: a TIFF image with {name} compression, of which only"):
            read_image(encoded(PHOTO, "TIFF", compression=how), "it")


def test_a_size_is_known_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(Image.new("L", (MAX_SIDE, 2)), "PNG")
    image = open_image(content[:-30], "cut")
    assert (image.size, image.mode) == ((MAX_SIDE, 2), "L")
    with pytest.raises(DataError, match=r"^cut: corrupt"):
        read_image(content[:-30], "cut")


@pytest.mark.parametrize(("highest", "bits"), [(255, 8), (900, 10), (4095, 12), (16000, 14), (65535, 16)])
def test_deep_levels_are_scaled_by_the_bits_that_they_use(highest: int, bits: int) -> None:
    levels = np.linspace(0, highest, 64).round().astype(np.uint16).reshape(8, 8)
    image = eight_bit(read_image(encoded(Image.fromarray(levels), "PNG"), "it"))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), (levels * (255 / (2**bits - 1))).round().astype(np.uint8))
    assert image.info.get("notes", []) == (
        [] if bits == 16 else [f"levels use {bits} bits and were scaled accordingly"]
    )


def test_floating_point_levels_are_scaled_and_what_is_no_number_is_black() -> None:
    levels = np.array([[0, 0.5, 1, np.nan, -1]], np.float32)
    image = eight_bit(read_image(encoded(Image.fromarray(levels), "TIFF"), "it"))
    assert np.asarray(image).tolist() == [[0, 128, 255, 0, 0]]


def test_finding_suffixes_imports_nothing_heavy() -> None:
    code = "import sys, lenet_pl.photo.find_files; sys.exit(bool({'PIL', 'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def png_with(chunk: bytes, body: bytes) -> bytes:
    plain = encoded(PHOTO, "PNG")
    part = struct.pack(">I", len(body)) + chunk + body + struct.pack(">I", zlib.crc32(chunk + body))
    return plain[:33] + part + plain[33:]


def test_exif_that_claims_more_than_there_is_changes_nothing() -> None:
    """Each of 1,000 entries claims the same megabyte."""
    entries = b"".join(struct.pack("<HHII", 700 + k, 7, 1_000_000, 12_100) for k in range(1000))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 1000) + entries + bytes(1_000_100)
    assert np.array_equal(np.asarray(read_image(png_with(b"eXIf", exif), "it")), np.asarray(PHOTO))
