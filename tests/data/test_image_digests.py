import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet_pl.data import image_digests
from lenet_pl.data.image_digests import digest_array, digest_content, digest_images

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 8, 8), dtype=np.uint8)


def expected(images: np.ndarray) -> list[int]:
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    return [int.from_bytes(digest, "little", signed=True) for digest in digests]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep digests of files however new they are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_digests, "SETTLED", -1)
    return tmp_path / "cache" / "lenet_pl"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "images.npy", PIXELS)
    return tmp_path / "images.npy"


def opened(file: Path) -> np.ndarray:
    mapped: np.ndarray = np.load(file, mmap_mode="r")
    return mapped


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List the arrays that are read from now on."""
    found: list[Path] = []
    read = image_digests._read

    def _read(file: Path, images: np.ndarray) -> Iterator[bytes]:
        found.append(file)
        return read(file, images)

    monkeypatch.setattr(image_digests, "_read", _read)
    return found


def test_a_file_is_digested_whole(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(PIXELS.tobytes())
    assert [digest_content((tmp_path / "x").read_bytes())] == expected(PIXELS[None])


@pytest.mark.parametrize("block", [1, 64, 1000, 1 << 24])
def test_each_image_is_digested_in_blocks_of_any_size(
    block: int, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_digests, "BLOCK", block)
    assert digest_images(PIXELS).tolist() == expected(PIXELS)
    assert digest_array(file, opened(file)).tolist() == expected(PIXELS)
    assert digest_images(PIXELS[:0]).tolist() == []


@pytest.mark.parametrize("mapped", [True, False])
def test_an_array_in_columns_has_the_digests_of_its_images(mapped: bool, cache: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.asfortranarray(PIXELS))
    images = opened(tmp_path / "f.npy") if mapped else PIXELS
    assert digest_array(tmp_path / "f.npy", images).tolist() == expected(PIXELS)


def test_an_unchanged_file_is_read_once(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = reads(monkeypatch)
    first, second = (digest_array(file, opened(file)) for _ in range(2))
    assert read == [file]
    assert torch.equal(first, second)
    os.utime(file, (1, 1))
    assert torch.equal(digest_array(file, opened(file)), first)
    assert read == [file] * 2


def test_contents_of_the_same_size_with_the_old_times_are_noticed(file: Path, cache: Path) -> None:
    digest_array(file, opened(file))
    before = file.stat()
    inverted = 255 - PIXELS
    with file.open("r+b") as stream:  # the same inode
        stream.seek(opened(file).offset)
        stream.write(inverted.tobytes())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert digest_array(file, opened(file)).tolist() == expected(inverted)


def test_a_file_that_was_just_written_is_read_again(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_digests, "SETTLED", 60 * 10**9)
    read = reads(monkeypatch)
    for _ in range(2):
        digest_array(file, opened(file))
    assert read == [file] * 2
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["cut off", "flipped", "empty", "not JSON", "deep", "gone"])
def test_a_damaged_cache_costs_time_and_nothing_else(damage: str, file: Path, cache: Path) -> None:
    digest_array(file, opened(file))
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    spoilt = {
        "cut off": whole[:-9],
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "empty": b"",
        "not JSON": b"\xff" + whole,
        "deep": b"[" * 100_000 + whole,
    }
    if damage == "gone":
        kept.unlink()
    else:
        kept.write_bytes(spoilt[damage])
    assert digest_array(file, opened(file)).tolist() == expected(PIXELS)
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null"])
def test_a_home_that_cannot_be_written_to_is_no_error(
    place: str, file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    assert digest_array(file, opened(file)).tolist() == expected(PIXELS)
