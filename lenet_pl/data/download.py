"""Finding, verifying and decompressing published files. The sha256 is checked before any decoding."""

import hashlib
import tarfile
import zipfile
import zlib
from pathlib import Path

from filelock import FileLock

from lenet_pl.data.fetch import FAILED, decompress, describe_failure, fetch
from lenet_pl.data.published import DataFile, PublishedDataset
from lenet_pl.errors import DataError

CORRUPT = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError),
    *(zlib.error, zipfile.BadZipFile, tarfile.TarError),
)


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
    missing = [file for file in files if find_file(published, file, root) is None]
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
        path = find_file(published, file, root)
        assert path is not None
        contents.append(read_file(path, file, published.archive))
    return contents


def places(published: PublishedDataset, root: Path) -> list[Path]:
    """List the folders in which files are looked for, in order."""
    own = [root / published.folder / "raw", root / published.folder]
    return [*own, published.system_dir] if published.system_dir else own


def find_file(published: PublishedDataset, file: DataFile, root: Path) -> Path | None:
    """Return the path of a file or of the archive that contains it."""
    names = [file.name] if file.sha256 else []
    names += [file.name.removesuffix(".gz")] if file.sha256_of_raw else []
    names += [published.archive.name] if published.archive else []
    return next((place / n for place in places(published, root) for n in names if (place / n).is_file()), None)


def read_file(path: Path, file: DataFile, archive: DataFile | None) -> bytes:
    """Read, verify and decompress one file.

    Args:
        path: The path of the file, or of the archive that contains it.
        file: The file.
        archive: The archive of the dataset, if it has one.

    Raises:
        DataError: If the content is corrupt or not what was published.
    """
    try:
        if archive is None or path.name != archive.name:
            content = path.read_bytes()
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as members:
                content = members.read(f"gzip/{file.name}")
        else:
            content = _members(path, archive)[file.name]
        raw = decompress(content, file.name)
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
                    fetch((published.url, *published.mirrors), folder / file.name, file)
    except FAILED as error:
        raise _missing_files(name, published, missing, root, f"download failed: {describe_failure(error)}") from None


def _missing_files(name: str, published: PublishedDataset, missing: list[DataFile], root: Path, why: str) -> DataError:
    wanted = published.archive.name if published.archive else ", ".join(file.name for file in missing)
    package = f", or install Debian's package {published.system_package}" if published.system_package else ""
    return DataError(
        f"data={name}: not found in {' or '.join(map(str, places(published, root)))} ({why}); put {wanted} from "
        f"{published.url} into {root / published.folder}{package}; data_root=... sets another folder; "
        f"data=digits needs no download"
    )
