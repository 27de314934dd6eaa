"""Untrusted images are decoded within limits; untrusted file names and requests are harmless. See also tests/photo."""

import csv
import io
import os
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from promise import case

from lenet_pl.demo.server import KIND, MAX_UPLOAD, create_app
from lenet_pl.errors import DataError, SettingError
from lenet_pl.image_io.decode import MAX_SIDE, read_image
from lenet_pl.inference.trained_run import TrainedRun, load_run
from lenet_pl.photo.find_files import find_images
from lenet_pl.photo.read_photo import read_photo
from lenet_pl.predict import predict
from lenet_pl.settings import compose as composition
from lenet_pl.settings.predict import PhotoSettings, PredictSettings
from lenet_pl.web.server import bind_socket

AUTO = PhotoSettings(invert="auto", remove_background="auto", center="auto")


@pytest.fixture(scope="module")
def run(digits_run: Path) -> TrainedRun:
    return load_run(digits_run / "checkpoints" / "best.ckpt")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


NOISE = Image.effect_noise((60, 60), 60)


@case("images", "a named pipe instead of a file: rejected at once, without waiting for a writer")
def test_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"^pipe\.png: a pipe, device or socket; must be a PNG, JPEG"):
        read_photo(tmp_path / "pipe.png", "pipe.png")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
@case("images", "an endless device file: rejected without reading it")
def test_a_device() -> None:
    with pytest.raises(DataError, match=r"^zero: a pipe, device or socket; must be a PNG, JPEG"):
        read_photo(Path("/dev/zero"), "zero")


@case(
    "images", "a symbolic link to itself and a directory named x.png: the link is an error, the directory is searched"
)
def test_links_and_directories(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    [loop] = find_images([str(tmp_path / "loop.png")])
    with pytest.raises(DataError, match=r"^loop\.png: Too many levels of symbolic links; must be"):
        read_photo(loop, "loop.png")
    (tmp_path / "x.png").mkdir()
    with pytest.raises(DataError, match=r"x\.png has no images"):
        find_images([str(tmp_path / "x.png")])
    (tmp_path / "x.png" / "digit.png").write_bytes(encoded(NOISE))
    assert find_images([str(tmp_path / "x.png")]) == [tmp_path / "x.png" / "digit.png"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            content, id=kind, marks=case("images", f"{kind} data named .png: one error line, no other decoder is tried")
        )
        for kind, content in {
            "ICO": encoded(NOISE, "ICO"),
            "PPM": encoded(NOISE, "PPM"),
            "PSD": b"8BPS\0\1" + bytes(40),
            "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
            "PDF": encoded(NOISE, "PDF"),
        }.items()
    ],
)
def test_other_formats(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^it\.png: an? .*(ICO|PPM|PSD|SVG|PDF).*; must be a PNG") as error:
        read_photo(content, "it.png")
    assert "\n" not in str(error.value)


@case("images", "an iTXt chunk that decompresses to 80 MB: rejected with less than 50 MB of memory")
@case("images", "headers of 1×80,000,000 and 60,000×60,000 px: rejected with less than 50 MB of memory")
def test_bombs_take_no_memory() -> None:
    plain = encoded(NOISE)
    text = chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(bytes(80_000_000)))
    bombs = [plain[:33] + text + plain[33:]]
    for width, height in ((1, 80_000_000), (60_000, 60_000)):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        bombs.append(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))))
    read_photo(plain, "first")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bomb in bombs[1:]:
        with pytest.raises(DataError, match=r"^bomb: .* px; must be"):
            read_photo(bomb, "bomb")
    with pytest.raises(DataError, match=r"^text: corrupt \(.*\); must be"):
        read_photo(bombs[0], "text")
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 50


def peak() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tiff(entries: list[tuple[int, int, int, int]], more: bytes = b"") -> bytes:
    """Encode a TIFF file with one directory; its entries are (tag, type, number of values, value or offset)."""
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + body + bytes(4) + more


SQUARE = [(256, 4, 1, 60), (257, 4, 1, 60), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 0), (279, 4, 1, 3600)]
WIDE = struct.pack("<HH", 60_000, 60_000)
BOMBS = {  # (claim, outcome)
    "a WebP of 16,383×16,383 px": (
        b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + struct.pack("<I", 16_382 | 16_382 << 14) + bytes(8),
        "16383×16383 px",
    ),
    "a WebP canvas of 16,777,216 px a side": (
        b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff" + bytes(8),
        "16777216×16777216 px",
    ),
    "a BMP of 60,000×60,000 px": (
        b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 60_000, 60_000, 1, 24, 0) + bytes(24),
        "60000×60000 px",
    ),
    "a GIF screen of 60,000×60,000 px": (b"GIF89a" + WIDE + bytes(3) + b"," + bytes(20), "60000×60000 px"),
    "a GIF frame of 60,000×60,000 px on a small screen": (
        b"GIF89a\x09\0\x09\0" + bytes(3) + b"," + bytes(4) + WIDE + bytes(20),
        "60000×60000 px|corrupt",
    ),
    "a TIFF of 60,000×60,000 px": (
        tiff([(256, 4, 1, 60_000), (257, 4, 1, 60_000), *SQUARE[2:]]),
        "60000×60000 px",
    ),
    "a TIFF tag of 4,294,967,295 values": (tiff([*SQUARE, (700, 7, 2**32 - 1, 0)], bytes(4000)), "corrupt"),
    "a TIFF with 60,000 tags that share 700 kB": (
        tiff([*SQUARE, *((1000 + k, 7, 700_000, 8) for k in range(60_000))]),
        "corrupt",
    ),
    "a TIFF with 1,000,000 strips": (
        tiff([*SQUARE[:4], (273, 4, 1_000_000, 100), *SQUARE[5:]], bytes(4_000_000)),
        "corrupt",
    ),
    "a TIFF whose directory lies outside the file": (b"II*\0\xff\xff\xff\x7f" + bytes(40), "corrupt"),
    "a TIFF with a compression that only libtiff decodes": (
        tiff([*SQUARE, (259, 3, 1, 34712)]),
        r"a TIFF image with unknown \(34712\) compression",
    ),
    "a JPEG of 65,500×65,500 px": (
        b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", 65_500, 65_500) + b"\1\1\x11\0"
        b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(100),
        "65500×65500 px",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, marks=case("images", f"{claim}: rejected within 2 s and with less than 50 MB of memory"))
        for claim in BOMBS
    ],
)
def test_bombs_of_each_format(claim: str) -> None:
    content, outcome = BOMBS[claim]
    read_photo(encoded(NOISE, "TIFF"), "first")
    before, start = peak(), time.process_time()
    with pytest.raises(DataError, match=rf"^bomb: ({outcome}).*; must be a PNG, JPEG") as error:
        read_photo(content, "bomb")
    assert "\n" not in str(error.value)
    assert peak() - before < 50
    assert time.process_time() - start < 2


@case("images", "a GIF of 20,000 frames: the first frame is decoded, and at most one more is parsed")
def test_thousands_of_frames() -> None:
    one = encoded(NOISE, "GIF")
    content = one[:-1] + (b",\0\0\0\0\1\0\1\0\0\2\2L\1\0") * 20_000 + b";"
    begin = time.process_time()
    photo = read_photo(content, "it")
    assert time.process_time() - begin < 0.5
    assert (np.asarray(photo.convert("L")) == np.asarray(NOISE)).all()
    assert photo.info["notes"] == ["the first frame of several"]


@case("images", "a GIF with a comment of 19 MB: decoded within 3 s")
def test_a_long_comment() -> None:
    one = encoded(NOISE, "GIF")
    start = 13 + 3 * 2 ** ((one[10] & 7) + 1)  # after the color table
    comment = b"!\xfe" + (b"\xff" + b"x" * 255) * 74_000 + b"\0"
    begin = time.process_time()
    photo = read_photo(one[:start] + comment + one[start:], "it")
    assert (np.asarray(photo.convert("L")) == np.asarray(NOISE)).all()
    assert time.process_time() - begin < 3


@case("images", "a TIFF directory that links to itself, and cyclic EXIF links: read once")
def test_circles() -> None:
    pixels = encoded(NOISE, "TIFF")
    (at,) = struct.unpack_from("<I", pixels, 4)
    (count,) = struct.unpack_from("<H", pixels, at)
    end = at + 2 + 12 * count
    circle = pixels[:end] + struct.pack("<I", at) + pixels[end + 4 :]
    assert (np.asarray(read_photo(circle, "it")) == np.asarray(NOISE)).all()
    exif = b"Exif\0\0II*\0\x08\0\0\0\2\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x12\1\3\0\1\0\0\0\3\0\0\0\x08\0\0\0"
    turned = encoded(NOISE.transpose(Image.Transpose.ROTATE_180), exif=exif)
    assert (np.asarray(read_photo(turned, "it")) == np.asarray(NOISE)).all()


@case("images", "maker notes and 10,000 EXIF entries that share 60 kB in a JPEG: less than 50 MB of memory")
def test_exif_of_a_jpeg() -> None:
    entries = b"".join(struct.pack("<HHII", 1000 + k, 7, 60_000, 8) for k in range(5000))
    plain = encoded(NOISE, "JPEG")
    content = encoded(NOISE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + entries + bytes(4))
    before = peak()
    assert (np.asarray(read_image(content, "it")) == np.asarray(Image.open(io.BytesIO(plain)))).all()
    assert peak() - before < 50


@case("images", "a side of exactly 4096 px: accepted; 4097 px: rejected")
def test_the_limit_itself() -> None:
    assert read_photo(encoded(Image.new("1", (MAX_SIDE, 3))), "wide").size == (4096, 3)
    with pytest.raises(DataError, match=r"^wide: 4097×3 px; must be .* at most 4096 px"):
        read_photo(encoded(Image.new("1", (MAX_SIDE + 1, 3))), "wide")


@case("images", "a progressive JPEG: decoded to the same pixels as with Pillow")
def test_progressive() -> None:
    content = encoded(NOISE, "JPEG", progressive=True)
    assert (np.asarray(read_photo(content, "it")) == np.asarray(Image.open(io.BytesIO(content)))).all()


@case("images", "corrupt EXIF data and a corrupt color profile: ignored, the pixels are unchanged")
def test_damaged_metadata() -> None:
    plain = np.asarray(NOISE)
    for options in ({"exif": b"Exif\0\0II*\0\xff\xff\xff\x7f"}, {"icc_profile": b"no profile" * 9}):
        assert (np.asarray(read_photo(encoded(NOISE, **options), "it")) == plain).all()


@case("images", "a fully transparent image and one of 1×1 px: one error line, the image is empty")
def test_nothing_to_see(run: TrainedRun) -> None:
    from lenet_pl.photo.prepare import prepare

    for image in (Image.new("RGBA", (60, 60), (9, 200, 9, 0)), Image.new("L", (1, 1), 255)):
        with pytest.raises(DataError, match=r"^it: nothing on it"):
            prepare(read_photo(encoded(image), "it"), run, AUTO)


@case("images", "file names with line breaks and escape codes: printed on one line, without effect on the terminal")
@case("images", "a file name that a spreadsheet would evaluate as a formula: written to predictions.csv as text")
def test_names(
    digits_run: Path,
    run: TrainedRun,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    digit = encoded(Image.fromarray(run.load_data().test_set[torch.tensor([0])].images[0, 0].numpy()))
    names = ["=1+1.png", "two\nlines\x1b[2J.png", "@sum.png", "plain.png"]
    for name in names:
        Path(name).write_bytes(digit)
    predict(
        composition.compose(
            "predict", PredictSettings, [f"run='{digits_run}'", f"output_dir={tmp_path / 'out'}", "images='*.png'"]
        )
    )
    assert "\x1b[2J" not in capsys.readouterr().out
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        files = {row["file"] for row in csv.DictReader(stream)}
    assert files == {"'=1+1.png", "two\\nlines\\x1b[2J.png", "'@sum.png", "plain.png"}


@pytest.fixture
def client(run: TrainedRun) -> Iterator[TestClient]:
    with TestClient(create_app([run], AUTO), base_url="http://127.0.0.1:8000") as client:
        yield client


@case("images", "an upload named ../../x.png: the name is ignored, and no file is written")
def test_a_name_with_a_path(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    headers = {"content-type": KIND, "content-disposition": 'attachment; filename="../../x.png"'}
    digit = encoded(Image.fromarray(np.eye(8, dtype=np.uint8) * 255))
    assert client.post("/runs/0", content=digit, headers=headers).status_code == 200
    assert client.post("/runs/..%2f..%2fx.png", content=digit, headers=headers).status_code in (404, 405)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@case("images", "a chunked upload without a length, over the limit: status 413 as soon as the limit is exceeded")
def test_an_upload_without_a_length(client: TestClient) -> None:
    sent: list[int] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(4 * MAX_UPLOAD // 1_000_000):
            sent.append(1_000_000)
            yield bytes(1_000_000)

    reply = client.post("/runs/0", content=pieces(), headers={"content-type": KIND})
    assert reply.status_code == 413
    assert "must be at most 5 MB" in reply.json()["error"]


@case("images", "the host of the demo: 127.0.0.1 by default, an address of another machine is rejected")
def test_the_address() -> None:
    from lenet_pl.settings.demo import DemoSettings

    assert composition.compose("demo", DemoSettings, []).host == "127.0.0.1"
    with bind_socket("127.0.0.1", 0) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
    with pytest.raises(SettingError, match=r"^host: got 192\.0\.2\.1 \(.*\); must be an address of this machine$"):
        bind_socket("192.0.2.1", 0)
