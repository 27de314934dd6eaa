"""Content digests of images, which identify them regardless of file names, row numbers and timestamps.

A digest is a 64-bit BLAKE2b hash, stored as int64. The probability of a collision among 70,000 images is 1e-10.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.runtime.atomic_files import atomic_file

BLOCK = 1 << 24  # bytes of an array to read at once
SETTLED = 2 * 10**9  # ns after which another change of a file certainly gets a new timestamp


def digest_content(content: bytes) -> int:
    """Digest the content of a file."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def digest_images(images: Any) -> Tensor:
    """Digest each image of a NumPy array of shape (M, ...), as int64 of shape (M,)."""
    if not len(images):
        return torch.zeros(0, dtype=torch.int64)
    size = int(images[0].nbytes)
    rows = max(1, BLOCK // size)
    return _digests((images[k : k + rows].tobytes() for k in range(0, len(images), rows)), size)


def digest_array(file: Path, images: Any) -> Tensor:
    """Digest each image of a `.npy` file, or return the cached digests if the file is unchanged.

    The file is read in blocks instead of through its memory map, whose pages would count as memory of this process.

    Args:
        file: The file of the array.
        images: The array of the same file, of shape (M, ...) with M > 0, in memory or memory-mapped.

    Returns:
        The digests, int64 of shape (M,).
    """
    state, cache = _state(file), _cache_of(file)
    found = _recall(cache, state, len(images))
    if found is None:
        mapped = isinstance(images, np.memmap) and images.flags.c_contiguous
        found = _digests(_read(file, images), int(images[0].nbytes)) if mapped else digest_images(images)
        if _state(file) == state and time.time_ns() - max(state["modified"], state["changed"]) > SETTLED:
            _keep(cache, state, found)
    return found


def _digests(blocks: Iterable[bytes], size: int) -> Tensor:
    """Digest chunks of `size` bytes."""
    found: list[bytes] = []
    for block in blocks:
        view = memoryview(block)
        each = [hashlib.blake2b(view[k : k + size], digest_size=8).digest() for k in range(0, len(block), size)]
        found.append(b"".join(each))
    return torch.from_numpy(np.frombuffer(b"".join(found), "<i8").astype(np.int64))


def _read(file: Path, images: Any) -> Iterator[bytes]:
    """Read an array in blocks of whole images."""
    size = int(images[0].nbytes)
    left, rows = len(images), max(1, BLOCK // size)
    with file.open("rb") as stream:
        stream.seek(images.offset)
        while left:
            block = stream.read(min(left, rows) * size)
            if not block:
                raise OSError(5, "the file became shorter while it was read", str(file))
            yield block
            left -= len(block) // size


def _state(file: Path) -> dict[str, int]:
    """Return what changes when a file changes. Unlike the modification time, the change time cannot be set by users."""
    status = file.stat()
    return {
        "bytes": status.st_size,
        "modified": status.st_mtime_ns,
        "changed": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _cache_of(file: Path) -> Path:
    """Return the path of the cached digests of a file. The cache can be deleted at any time."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "lenet_pl" / f"{hashlib.sha256(os.fsencode(file.resolve())).hexdigest()[:32]}.digests"


def _recall(cache: Path, state: dict[str, int], count: int) -> Tensor | None:
    """Read cached digests; None if they are missing, corrupt or of another state of the file."""
    try:
        head, _, payload = cache.read_bytes().partition(b"\n")
        kept = json.loads(head)
        if kept != state | {"sha256": hashlib.sha256(payload).hexdigest()} or len(payload) != 8 * count:
            return None
    except (OSError, ValueError, RecursionError):
        return None
    return torch.from_numpy(np.frombuffer(payload, "<i8").astype(np.int64))


def _keep(cache: Path, state: dict[str, int], found: Tensor) -> None:
    payload = found.numpy().astype("<i8").tobytes()
    head = json.dumps(state | {"sha256": hashlib.sha256(payload).hexdigest()})
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(cache) as stream:
            stream.write(head.encode() + b"\n" + payload)
    except OSError:  # without a writable cache the file is only digested again next time
        return
