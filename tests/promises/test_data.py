"""Training rejects files that differ from the published ones, and inconsistent arrays and folders."""

import gzip
import hashlib
import http.server
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FASHION, Run, needs_fashion
from promise import case
from quiet import WITHOUT_FIGURES
from quiet_server import QuietServer

from lenet_pl.data.download import read_files
from lenet_pl.data.published import PUBLISHED, DataFile, PublishedDataset
from lenet_pl.errors import DataError
from lenet_pl.train import train

TINY = (*WITHOUT_FIGURES, "trainer.max_epochs=1", "trainer.limit_train_batches=1", "run=here")
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a data root that contains the real files of Fashion-MNIST only."""
    folder = tmp_path / "data" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for file in FASHION.iterdir():
        (folder / file.name).symlink_to(file)
    monkeypatch.setitem(PUBLISHED, "fashion", replace(PUBLISHED["fashion"], system_dir=None))
    return folder


def content(name: str) -> bytes:
    return (FASHION / f"{name}.gz").read_bytes()


def idx(array: np.ndarray, magic: int) -> bytes:
    """Encode a uint8 array in the IDX format."""
    return magic.to_bytes(4, "big") + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def flipped(whole: bytes) -> bytes:
    return whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:]


Spoil = Callable[[Path], object]


def replaced(name: str, work: Callable[[Path], Any]) -> tuple[str, Spoil]:
    """Replace a file with something else."""

    def spoil(folder: Path) -> None:
        (folder / f"{name}.gz").unlink()
        work(folder / f"{name}.gz")

    return name, spoil


def written(name: str, make: Callable[[], bytes]) -> tuple[str, Spoil]:
    """Replace the content of a file."""
    return replaced(name, lambda path: path.write_bytes(make()))


def packed(name: str, array: np.ndarray, magic: int) -> tuple[str, Spoil]:
    """Replace the images or labels of a file, in the valid format."""
    return written(name, lambda: gzip.compress(idx(array, magic)))


def unpacked(name: str, change: Callable[[bytes], bytes]) -> tuple[str, Spoil]:
    """Replace the .gz with a modified uncompressed file."""
    return replaced(name, lambda path: path.with_suffix("").write_bytes(change(gzip.decompress(content(name)))))


GREY = np.zeros((100, 32, 32), np.uint8)
STATES: dict[str, tuple[str, Spoil]] = {
    "a truncated .gz file": written(IMAGES, lambda: content(IMAGES)[:-1000]),
    "a flipped bit in a .gz file": written(IMAGES, lambda: flipped(content(IMAGES))),
    "trailing bytes in a .gz file": written(LABELS, lambda: content(LABELS) + b"more"),
    "an empty file": written(TEST_LABELS, lambda: b""),
    "the page of a captive portal instead of a file": written(LABELS, lambda: b"<html>log in</html>"),
    "a directory instead of a file": replaced(LABELS, Path.mkdir),
    "a broken symbolic link": replaced(LABELS, lambda path: path.symlink_to("nowhere")),
    "one of four files missing": replaced(TEST_IMAGES, lambda path: None),
    "test labels instead of training labels": written(LABELS, lambda: content(TEST_LABELS)),
    "training images instead of test images": written(TEST_IMAGES, lambda: content(IMAGES)),
    "37 images": packed(IMAGES, GREY[:37, :28, :28], 2051),
    "images of 32×32 px": packed(IMAGES, GREY, 2051),
    "100 labels": packed(LABELS, GREY[:, 0, 0], 2049),
    "a label of 200": packed(LABELS, np.full(60000, 200, np.uint8), 2049),
    "a wrong magic number": packed(LABELS, GREY[:, 0, 0], 2050),
    "a truncated raw file": unpacked(LABELS, lambda whole: whole[:-5]),
    "a flipped bit in a raw file": unpacked(LABELS, flipped),
}


@needs_fashion
@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        pytest.param(
            *row, id=what, marks=case("data", f"{what}: one error line with the file, exit code 1, no training")
        )
        for what, row in STATES.items()
    ],
)
def test_files_that_are_not_what_was_published(name: str, spoil: Spoil, raw: Path, run: Run) -> None:
    spoil(raw)
    before = {path.name: path.stat().st_size for path in raw.iterdir() if path.is_file()}
    code, lines = run(*TINY, "data=fashion", f"data_root={raw.parent.parent}", "data.download=false", work=train)
    assert (code, len(lines)) == (1, 1)
    assert name in lines[0]
    assert not Path("here").exists()
    assert {path.name: path.stat().st_size for path in raw.iterdir() if path.is_file()} == before


@needs_fashion
@case(
    "data", "a stale processed file that contains code, and a corrupt raw file next to a valid .gz: neither is opened"
)
def test_what_is_not_needed_is_not_opened(raw: Path, run: Run, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "marker",)

    processed = raw.parent / "processed"
    processed.mkdir()
    (processed / "training.pt").write_bytes(pickle.dumps(Payload()))
    (raw / IMAGES).write_bytes(b"damaged")
    code, lines = run(*TINY, "data=fashion", f"data_root={raw.parent.parent}", "data.download=false", work=train)
    assert (code, lines) == (0, [])
    assert not (tmp_path / "marker").exists()


WRITTEN = b"published file " * 5000
PACKED = gzip.compress(WRITTEN, mtime=0)
ONE = DataFile("a.gz", hashlib.sha256(WRITTEN).hexdigest(), sha256_of_raw=True)
Serve = Callable[[float], PublishedDataset]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serve the file with a pause of some seconds in the middle."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers: list[QuietServer] = []

    def _serve(wait: float) -> PublishedDataset:
        class Slow(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(PACKED)))
                self.end_headers()
                self.wfile.write(PACKED[:100])
                self.wfile.flush()
                time.sleep(wait)
                self.wfile.write(PACKED[100:])

            def log_message(self, *_: Any) -> None:
                pass

        server = QuietServer(("127.0.0.1", 0), Slow)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        url = f"http://127.0.0.1:{server.server_port}/"
        return PublishedDataset(folder="Tiny", url=url, train=(ONE,), test=(), classes=("x", "y"))

    yield _serve
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(published: PublishedDataset, root: Path) -> list[bytes]:
    return read_files("tiny", published, published.train, root, download=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@case("data", "no space for a download: one error line with the reason, no partial file, and it works with space")
def test_no_space(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published, folder = serve(0), tmp_path / "Tiny" / "raw"
    opened = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        return opened(Path("/dev/full") if path.suffix == ".part" else path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DataError, match=r"download failed: \[Errno 28\] No space left on device") as error:
        fetch(published, tmp_path)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(Path, "open", opened)
    assert {path.name for path in folder.iterdir()} <= {".lock"}
    assert fetch(published, tmp_path) == [WRITTEN]


@pytest.mark.parametrize(
    ("root", "words"),
    [
        pytest.param(
            "taken", "data_root: .*taken is a file", marks=case("data", "data_root is a file: one error line")
        ),
        pytest.param(
            "/proc/nowhere",
            "download failed: ",
            marks=case(
                "data",
                "a data_root that is not writable: one error line",
                instead_of="a read-only directory, to which root may write",
            ),
        ),
    ],
)
def test_a_root_that_is_no_folder_to_write_to(root: str, words: str, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(DataError, match=words) as error:
        fetch(serve(0), tmp_path / root)
    assert "\n" not in str(error.value)
    assert (tmp_path / "taken").read_text() == "mine"


@case("data", "kill -9 during a download: the next start removes the partial file and downloads the complete one")
def test_killed_in_mid_download(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "published").write_bytes(pickle.dumps(serve(60)))
    code = (
        "import pathlib, pickle, sys; from lenet_pl.data.download import read_files\n"
        "p = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "read_files('tiny', p, p.train, pathlib.Path(sys.argv[2]), download=True)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "published"), str(tmp_path / "root")]
    process = subprocess.Popen(command, env=dict(os.environ))
    folder = tmp_path / "root" / "Tiny" / "raw"
    while not list(folder.glob("*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(folder.glob("*.part"))
    assert fetch(serve(0), tmp_path / "root") == [WRITTEN]
    assert {path.name for path in folder.iterdir()} <= {"a.gz", ".lock"}


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
CLASSES = np.arange(40) % 4
ARRAYS: dict[str, Spoil] = {
    "an image file shorter than its header says": lambda p: p.write_bytes(p.read_bytes()[:-100]),
    "fractional pixel values": lambda p: np.save(p, PIXELS / 2),
    "pickled objects": lambda p: np.save(p, np.array([{}, {}], dtype=object), allow_pickle=True),
    "more images than labels": lambda p: np.save(p, np.concatenate([PIXELS, PIXELS])),
}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            spoil, id=what, marks=case("data", f"data=arrays, {what}: one error line with the file, no training")
        )
        for what, spoil in ARRAYS.items()
    ],
)
@pytest.mark.parametrize("in_memory", ["true", "false"])
def test_arrays_that_contradict_themselves(spoil: Spoil, in_memory: str, run: Run) -> None:
    Path("set").mkdir()
    for part in ("train", "test"):
        np.save(f"set/{part}_images.npy", PIXELS)
        np.save(f"set/{part}_labels.npy", CLASSES)
    spoil(Path("set/train_images.npy"))
    words = ("data=arrays", "data.path=set", f"data.in_memory={in_memory}", "data.split.val_size=4")
    code, lines = run(*TINY, *words, work=train)
    assert (code > 0, len(lines)) == (True, 1)
    assert "train_" in lines[0]
    assert not Path("here").exists()
