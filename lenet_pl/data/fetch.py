"""Download of one published file from the first of several addresses that has it."""

import bz2
import gzip
import hashlib
import http.client
import io
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lenet_pl.data.published import DataFile

MAX_RAW = 1 << 30  # bytes; the largest published file, of EMNIST, has 0.64 GB when decompressed
FAILED = (OSError, EOFError, zlib.error, http.client.HTTPException)  # of a download, or of unpacking what came
TIMEOUT = 20  # seconds without a response of the server
SLOW, PATIENCE = 1000, 30  # bytes per second below which a download is given up after this many seconds


def fetch(addresses: Sequence[str], path: Path, file: DataFile) -> None:
    """Download a file from the first address that has it, unchanged.

    Raises:
        OSError: No address does; the message has the reason of each.
    """
    reasons = []
    for address in addresses:
        try:
            return _fetch_one(address + file.name, path, file)
        except FAILED as error:
            if isinstance(error, OSError) and not isinstance(error, urllib.error.URLError) and error.filename:
                raise  # the disk, which no other address changes
            reasons.append(describe_failure(error))
    if len(addresses) > 1:
        reasons = [f"{host_of(address)}: {reason}" for address, reason in zip(addresses, reasons, strict=True)]
    raise OSError("; ".join(reasons))


def host_of(address: str) -> str:
    """Return the host of an address, for messages."""
    return urllib.parse.urlsplit(address).netloc


def describe_failure(error: BaseException) -> str:
    """Describe a failed download in one line."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
    return " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__


def _fetch_one(url: str, path: Path, file: DataFile) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT) as response,
            partial.open("wb") as stream,
            Progress(*columns, transient=True) as progress,
        ):
            size = response.headers.get("Content-Length")
            bar = progress.add_task(path.name, total=int(size) if size else None)
            start, received = time.monotonic(), 0
            while block := response.read1(1 << 18):
                stream.write(block)
                progress.advance(bar, len(block))
                received += len(block)
                seconds = time.monotonic() - start
                if seconds > PATIENCE and received < SLOW * seconds and str(received) != size:
                    raise TimeoutError(f"{url} gave {received:,} bytes in {seconds:.0f} s")
            if size and received < int(size):
                raise OSError(f"{url} ended after {received:,} of {int(size):,} bytes")
            stream.flush()
            os.fsync(stream.fileno())
        content = partial.read_bytes()
        digest = hashlib.sha256(decompress(content, file.name) if file.sha256_of_raw else content).hexdigest()
        if digest != file.sha256:
            raise OSError(f"{url} gave {len(content):,} bytes with sha256 {digest[:12]}…, not {file.sha256[:12]}…")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def decompress(content: bytes, name: str) -> bytes:
    """Decompress gzip, and bzip2 by the name of the file; other content is returned unchanged.

    Raises:
        OSError: The content is corrupt, or longer than any published file, whatever its compressed size.
    """
    if content[:2] == b"\x1f\x8b":
        stream: gzip.GzipFile | bz2.BZ2File = gzip.GzipFile(fileobj=io.BytesIO(content))
    elif name.endswith(".bz2"):
        stream = bz2.BZ2File(io.BytesIO(content))
    else:
        return content
    raw = stream.read(MAX_RAW + 1)
    if len(raw) > MAX_RAW:
        raise OSError(f"more than {MAX_RAW >> 20} MiB when decompressed")
    return raw
