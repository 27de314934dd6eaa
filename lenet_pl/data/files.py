"""Find, verify, download and decompress published files. Nothing reaches a decoder before its sha256 was checked."""

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

from lenet_pl.data.catalogue import DataFile, Published
from lenet_pl.errors import DataError

DAMAGED = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError),
    *(zlib.error, zipfile.BadZipFile, tarfile.TarError),
)
TIMEOUT = 20  # seconds without an answer from a mirror


def read_files(
    name: str, published: Published, files: tuple[DataFile, ...], root: Path, *, download: bool
) -> list[bytes]:
    """Read the decompressed content of files: from the root, a distribution's package or the mirror, in this order.

    Args:
        name: of the data set, for messages.
        published: the set that the files belong to.
        files: wanted files.
        root: folder of data sets.
        download: fetch what is missing.

    Raises:
        DataError: a file is damaged or not to be had; the message names files, places and a way out.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"data_root: {root} is a file; accepted is a folder, which is made if need be")
    missing = [file for file in files if _find(published, file, root) is None]
    if missing and not download:
        raise _absent(name, published, missing, root, "data.download=false")
    if missing:
        _download(name, published, missing, root)
    contents = []
    for file in files:
        path = _find(published, file, root)
        assert path is not None
        contents.append(_read(path, file, published.archive))
    return contents


def _places(published: Published, root: Path) -> list[Path]:
    own = [root / published.folder / "raw", root / published.folder]
    return [*own, published.system] if published.system else own


def _find(published: Published, file: DataFile, root: Path) -> Path | None:
    """Return the path of a file, or of the archive that holds it."""
    names = [file.name] if file.sha256 else []
    names += [file.name.removesuffix(".gz")] if file.raw else []
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
    except DAMAGED as error:
        raise DataError(f"{path}: damaged ({error}); delete it to have it downloaded again") from None
    if file.sha256:
        _check(path, raw if file.raw else content, file)
    return raw


def _check(path: Path, content: bytes, file: DataFile) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DataError(
            f"{path}: wrong content, {len(content):,} bytes with sha256 {digest[:12]}…; accepted is "
            f"{file.sha256[:12]}…; delete it to have it downloaded again"
        )


def _decompress(content: bytes, name: str) -> bytes:
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    return bz2.decompress(content) if name.endswith(".bz2") else content


_archives: dict[Path, dict[str, bytes]] = {}  # the one read last: its parts are asked for one after the other


def _members(path: Path, archive: DataFile) -> dict[str, bytes]:
    """Read all members of a tar, which have no digests of their own, after checking the whole."""
    if path not in _archives:
        _check(path, path.read_bytes(), archive)
        with tarfile.open(path) as members:
            found = {m.name: members.extractfile(m) for m in members if m.isfile()}
            _archives.clear()
            _archives[path] = {name: stream.read() for name, stream in found.items() if stream}
    return _archives[path]


def _download(name: str, published: Published, missing: list[DataFile], root: Path) -> None:
    """Fetch files, or the archive, into the root: one process at a time, verified before they appear."""
    folder = root / published.folder / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for part in folder.glob("*.part"):  # of a process that was killed; none is at work but this one
                part.unlink()
            for file in [published.archive] if published.archive else missing:
                if not (folder / file.name).is_file():  # another process may have been here in the meantime
                    _fetch(published.url + file.name, folder / file.name, file)
    except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise _absent(name, published, missing, root, f"download failed: {reason}") from None


def _fetch(url: str, path: Path, file: DataFile) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT) as answer,
            part.open("wb") as stream,
            Progress(*columns, transient=True) as progress,
        ):
            size = answer.headers.get("Content-Length")
            bar = progress.add_task(path.name, total=int(size) if size else None)
            while block := answer.read(1 << 18):
                stream.write(block)
                progress.advance(bar, len(block))
            stream.flush()
            os.fsync(stream.fileno())
        content = part.read_bytes()
        digest = hashlib.sha256(_decompress(content, file.name) if file.raw else content).hexdigest()
        if digest != file.sha256:
            raise OSError(f"{url} gave {len(content):,} bytes with sha256 {digest[:12]}…, not {file.sha256[:12]}…")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _absent(name: str, published: Published, missing: list[DataFile], root: Path, why: str) -> DataError:
    wanted = published.archive.name if published.archive else ", ".join(file.name for file in missing)
    package = f", or install Debian's package {published.system_package}" if published.system_package else ""
    return DataError(
        f"data={name}: not found in {' or '.join(map(str, _places(published, root)))} ({why}); put {wanted} from "
        f"{published.url} into {root / published.folder}{package}; data_root=... names another folder; "
        f"data=digits works at once"
    )
