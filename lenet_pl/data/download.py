"""Finding, downloading, verifying and decompressing published files. The sha256 is checked before any decoding."""

import bz2
import gzip
import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from lenet_pl.data.published import DataFile, PublishedDataset
from lenet_pl.errors import DataError

CORRUPT = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError),
    *(zlib.error, zipfile.BadZipFile, tarfile.TarError),
)
TIMEOUT = 20  # seconds without a response of the server


def ensure_files(
    name: str, published: PublishedDataset, files: tuple[DataFile, ...], root: Path, *, download: bool
) -> None:
    """Download the files that are neither in the data root nor in a system package.

    Args:
        name: The name of the dataset, for messages.
        published: The dataset of the files.
        files: The files that are required.
        root: The folder of all datasets.
        download: Whether to download missing files.

    Raises:
        DataError: If a file is unavailable. The message names the files, the places searched and what to do.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"data_root: {root} is a file; must be a folder, which is created if it does not exist")
    missing = [file for file in files if _find(published, file, root) is None]
    if missing and not download:
        raise _missing_files(name, published, missing, root, "data.download=false")
    if missing:
        _download(name, published, missing, root)


def read_files(
    name: str, published: PublishedDataset, files: tuple[DataFile, ...], root: Path, *, download: bool
) -> list[bytes]:
    """Read files from the data root, a system package or the download server, in this order.

    Args:
        name: The name of the dataset, for messages.
        published: The dataset of the files.
        files: The files to read.
        root: The folder of all datasets.
        download: Whether to download missing files.

    Returns:
        The decompressed content of each file.

    Raises:
        DataError: If a file is corrupt or unavailable. The message names the files, the places searched and what to do.
    """
    ensure_files(name, published, files, root, download=download)
    contents = []
    for file in files:
        path = _find(published, file, root)
        assert path is not None
        contents.append(_read(path, file, published.archive))
    return contents


def _places(published: PublishedDataset, root: Path) -> list[Path]:
    own = [root / published.folder / "raw", root / published.folder]
    return [*own, published.system_dir] if published.system_dir else own


def _find(published: PublishedDataset, file: DataFile, root: Path) -> Path | None:
    """Return the path of a file or of the archive that contains it."""
    names = [file.name] if file.sha256 else []
    names += [file.name.removesuffix(".gz")] if file.sha256_of_raw else []
    names += [published.archive.name] if published.archive else []
    return next((place / n for place in _places(published, root) for n in names if (place / n).is_file()), None)


def _read(path: Path, file: DataFile, archive: DataFile | None) -> bytes:
    """Read, verify and decompress one file."""
    try:
        if archive is None or path.name != archive.name:
            content = path.read_bytes()
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as members:
                content = members.read(f"gzip/{file.name}")
        else:
            content = _members(path, archive)[file.name]
        raw = _decompress(content, file.name)
    except CORRUPT as error:
        raise DataError(f"{path}: corrupt ({error}); delete it to download it again") from None
    if file.sha256:
        _check(path, raw if file.sha256_of_raw else content, file)
    return raw


def _check(path: Path, content: bytes, file: DataFile) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DataError(
            f"{path}: wrong content: got {len(content):,} bytes with sha256 {digest[:12]}…; must be "
            f"{file.sha256[:12]}…; delete it to download it again"
        )


def _decompress(content: bytes, name: str) -> bytes:
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    return bz2.decompress(content) if name.endswith(".bz2") else content


_archives: dict[Path, dict[str, bytes]] = {}  # only the last archive, whose members are read one after the other


def _members(path: Path, archive: DataFile) -> dict[str, bytes]:
    """Read all members of a tar file after verifying the file, because the members have no published digests."""
    if path not in _archives:
        _check(path, path.read_bytes(), archive)
        with tarfile.open(path) as members:
            found = {m.name: members.extractfile(m) for m in members if m.isfile()}
            _archives.clear()
            _archives[path] = {name: stream.read() for name, stream in found.items() if stream}
    return _archives[path]


def _download(name: str, published: PublishedDataset, missing: list[DataFile], root: Path) -> None:
    """Download the missing files, or the archive, one process at a time. Files appear only after verification."""
    folder = root / published.folder / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for partial in folder.glob("*.part"):  # of a killed process: the lock excludes all others
                partial.unlink()
            for file in [published.archive] if published.archive else missing:
                if not (folder / file.name).is_file():  # another process may have downloaded it in the meantime
                    _fetch(published.url + file.name, folder / file.name, file)
    except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise _missing_files(name, published, missing, root, f"download failed: {reason}") from None


def _fetch(url: str, path: Path, file: DataFile) -> None:
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
            while block := response.read(1 << 18):
                stream.write(block)
                progress.advance(bar, len(block))
            stream.flush()
            os.fsync(stream.fileno())
        content = partial.read_bytes()
        digest = hashlib.sha256(_decompress(content, file.name) if file.sha256_of_raw else content).hexdigest()
        if digest != file.sha256:
            raise OSError(f"{url} gave {len(content):,} bytes with sha256 {digest[:12]}…, not {file.sha256[:12]}…")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _missing_files(name: str, published: PublishedDataset, missing: list[DataFile], root: Path, why: str) -> DataError:
    wanted = published.archive.name if published.archive else ", ".join(file.name for file in missing)
    package = f", or install Debian's package {published.system_package}" if published.system_package else ""
    return DataError(
        f"data={name}: not found in {' or '.join(map(str, _places(published, root)))} ({why}); put {wanted} from "
        f"{published.url} into {root / published.folder}{package}; data_root=... sets another folder; "
        f"data=digits needs no download"
    )
