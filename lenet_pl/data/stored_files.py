"""The files of published datasets that are on this machine, and an archive of them for other machines."""

import hashlib
import io
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lenet_pl.data.download import CORRUPT, find_file, places, read_file
from lenet_pl.data.emnist import emnist
from lenet_pl.data.fetch import decompress
from lenet_pl.data.published import PUBLISHED, DataFile, PublishedDataset
from lenet_pl.errors import DataError, display_path, printable
from lenet_pl.runtime.atomic_files import atomic_file

MAX_MEMBER = 1 << 30  # bytes; the largest published file has 0.56 GB


@dataclass(frozen=True)
class StoredFile:
    """A published file and where it is.

    Attributes:
        file: The published file.
        path: The path of the file, or of the archive that contains it; None if it is missing.
        problem: What is wrong with its content; empty if its digest is right, or was not checked.
    """

    file: DataFile
    path: Path | None
    problem: str = ""

    @property
    def size(self) -> int:
        """The size of the file on disk in bytes; 0 if it is missing."""
        return self.path.stat().st_size if self.path else 0


def published_datasets() -> dict[str, PublishedDataset]:
    """Map the name of each published dataset to its description. The variants of EMNIST share one archive."""
    return PUBLISHED | {"emnist": emnist("balanced")}


def stored_files(published: PublishedDataset, root: Path, *, verify: bool) -> list[StoredFile]:
    """Find the files of a dataset.

    Args:
        published: The dataset.
        root: The folder of all datasets.
        verify: Whether to read each file and check its digest.
    """
    found = []
    for file in (*published.train, *published.test):
        path, problem = find_file(published, file, root), ""
        if path and verify:
            try:
                read_file(path, file, published.archive)
            except DataError as error:
                problem = str(error)
        found.append(StoredFile(file, path, problem))
    return found


def pack(datasets: dict[str, PublishedDataset], root: Path, archive: Path) -> list[Path]:
    """Write the files of datasets into one tar file, after verifying them.

    Args:
        datasets: The datasets by name, all of whose files are on this machine.
        root: The folder of all datasets.
        archive: The file to write. It is not compressed, as the files are.

    Returns:
        The files that it contains.

    Raises:
        DataError: A file is missing or corrupt, or the archive cannot be written.
    """
    members: dict[str, Path] = {}
    for name, published in datasets.items():
        for stored in stored_files(published, root, verify=True):
            if stored.problem:
                raise DataError(stored.problem)
            if stored.path is None:
                raise DataError(
                    f"{name}: {stored.file.name} is not in {' or '.join(map(str, places(published, root)))}"
                )
            members[f"{published.folder}/raw/{stored.path.name}"] = stored.path
    try:
        with atomic_file(archive) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for member, path in members.items():
                content = path.read_bytes()
                info = tarfile.TarInfo(member)  # without owner and time, so that the same files give the same archive
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    except OSError as error:
        raise DataError(f"archive: {display_path(archive)} cannot be written ({error.strerror or error})") from None
    return list(members.values())


def unpack(archive: Path, root: Path, folders: Collection[str] | None = None) -> tuple[list[Path], list[str]]:
    """Write the published files of an archive into the data root. Nothing else in the archive is written.

    Args:
        archive: An archive of `pack`, from anywhere: only files with a published digest are written.
        root: The folder of all datasets.
        folders: The folders of the datasets to unpack; None for all.

    Returns:
        The files that were written, and the names of other members, which were ignored.

    Raises:
        DataError: The archive cannot be read, or a file in it does not have the published digest.
    """
    known = _known_files()
    written, ignored = [], []
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                if folders is not None and member.name.partition("/")[0] not in folders:
                    continue
                file = known.get(member.name)
                stream = tar.extractfile(member) if file and member.isfile() and member.size <= MAX_MEMBER else None
                if file is None or stream is None:
                    ignored.append(member.name)
                    continue
                content = stream.read()
                _check_member(archive, member.name, content, file)
                target = root / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(target) as out:
                    out.write(content)
                written.append(target)
    except CORRUPT as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(
            f"archive: {display_path(archive)} cannot be unpacked into {display_path(root)} ({why}); must be an "
            "archive of pack, which is not compressed, and data_root a folder that can be written"
        ) from None
    return written, ignored


def _known_files() -> dict[str, DataFile]:
    """Map the name of each possible member of an archive to its published file."""
    known: dict[str, DataFile] = {}
    variants = ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")
    for published in (*PUBLISHED.values(), *map(emnist, variants)):
        own = [file for file in (*published.train, *published.test) if file.sha256]
        for file in [*own, *([published.archive] if published.archive else [])]:
            names = [file.name, *([file.name.removesuffix(".gz")] if file.sha256_of_raw else [])]
            known |= {f"{published.folder}/raw/{name}": file for name in names}
    return known


def _check_member(archive: Path, name: str, content: bytes, file: DataFile) -> None:
    raw = decompress(content, file.name) if file.sha256_of_raw else content
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise DataError(
            f"archive: {printable(name)} in {display_path(archive)} is not the published file; must have sha256 "
            f"{file.sha256[:12]}…"
        )
