"""The actions of the command, each with its output on the terminal."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from lenet_pl.data.download import ensure_files
from lenet_pl.data.fetch import host_of
from lenet_pl.data.published import PublishedDataset
from lenet_pl.data.stored_files import StoredFile, pack, stored_files, unpack
from lenet_pl.display.console import Console
from lenet_pl.errors import DataError, SettingError, display_path, printable

Datasets = Mapping[str, PublishedDataset]
NAMED = 5  # members of an archive that are named although they were not unpacked


def list_files(datasets: Datasets, root: Path) -> None:
    """Print which datasets are on this machine, where, how large they are and where they come from."""
    table = Table()
    table.add_column("data=")
    table.add_column("files", justify="right")
    table.add_column("MB", justify="right")
    table.add_column("folder", overflow="fold")
    table.add_column("comes from", overflow="fold")
    for name, published in datasets.items():
        found = stored_files(published, root, verify=False)
        paths = {one.path for one in found if one.path}
        size = sum(path.stat().st_size for path in paths) / 1e6
        folder = display_path(next(iter(paths)).parent) if paths else "–"
        addresses = ", ".join(map(host_of, (published.url, *published.mirrors)))
        here = sum(one.path is not None for one in found)
        table.add_row(name, f"{here} of {len(found)}", f"{size:.1f}" if paths else "–", folder, addresses)
    Console().print(table)


def fetch(datasets: Datasets, root: Path, mirror: str | None) -> None:
    """Download the missing files of datasets; one that fails does not stop the others.

    Raises:
        SettingError: A mirror is given for several datasets.
        DataError: Some files could not be downloaded.
    """
    if mirror and len(datasets) > 1:
        raise SettingError("mirror: got an address for several datasets; must be used with one, as in fetch mnist")
    failed = []
    for name, published in datasets.items():
        if mirror:
            published = replace(published, url=mirror, mirrors=(published.url, *published.mirrors))
        files = (*published.train, *published.test)
        try:
            ensure_files(name, published, files, root, download=True)
        except DataError as error:
            failed.append(str(error))
            continue
        _check(name, stored_files(published, root, verify=True), required=True)
    if failed:
        raise DataError("; ".join(failed))


def verify(datasets: Datasets, root: Path, *, required: bool) -> None:
    """Check the digests of all files, and print one line for each dataset.

    Args:
        datasets: The datasets.
        root: The folder of all datasets.
        required: Whether a missing file is an error. Otherwise datasets of which no file is here are left out.

    Raises:
        DataError: A file is corrupt or missing.
    """
    problems, checked = [], 0
    for name, published in datasets.items():
        found = stored_files(published, root, verify=True)
        if not required and all(one.path is None for one in found):
            continue
        checked += 1
        try:
            _check(name, found, required=True)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("; ".join(problems))
    if not checked:
        print(f"no published dataset in {display_path(root)}")


def pack_files(datasets: Datasets, root: Path, archive: str | None, *, required: bool) -> None:
    """Write datasets into one archive. Without `required`, those of which a file is missing are left out."""
    target = _archive(archive, "pack")
    if target.exists():
        raise SettingError(f"archive: {display_path(target)} exists; must be a new file")
    here = {name: one for name, one in datasets.items() if required or _complete(one, root)}
    if not here:
        raise DataError(f"data_root: no complete dataset in {display_path(root)}; use fetch to download some")
    files = pack(here, root, target)
    print(f"{display_path(target)}: {len(files)} files of {', '.join(here)}, {target.stat().st_size / 1e6:.1f} MB")


def unpack_files(datasets: Datasets, root: Path, archive: str | None) -> None:
    """Write the files of an archive into the data root: those of the given datasets, or all if none is given.

    Raises:
        DataError: The archive contains no published file, none of a given dataset, or one that is corrupt.
    """
    source = _archive(archive, "unpack")
    written, ignored = unpack(source, root, {one.folder for one in datasets.values()} if datasets else None)
    for name in ignored[:NAMED]:
        print(f"note: {printable(name)} is no published file, a link or too large, and was not unpacked")
    if len(ignored) > NAMED:
        print(f"note: {len(ignored) - NAMED} more were not unpacked")
    found = {path.relative_to(root).parts[0] for path in written}
    if missing := [name for name, one in datasets.items() if one.folder not in found]:
        raise DataError(f"archive: {display_path(source)} contains no file of {', '.join(missing)}")
    if not written:
        raise DataError(f"archive: {display_path(source)} contains no published file; must be an archive of pack")
    print(f"files unpacked into {display_path(root)}, with the published digests: {len(written)}")


def _check(name: str, found: list[StoredFile], *, required: bool) -> None:
    """Print that all files have their digest, or raise DataError."""
    if problems := [one.problem for one in found if one.problem]:
        raise DataError("; ".join(dict.fromkeys(problems)))
    if required and (missing := [one.file.name for one in found if one.path is None]):
        raise DataError(f"{name}: {', '.join(missing)} missing; use fetch {name} to download it")
    places = sorted({display_path(one.path.parent) for one in found if one.path})
    print(f"{name}: {len(found)} files with the published digests in {', '.join(places)}", flush=True)


def _complete(published: PublishedDataset, root: Path) -> bool:
    return all(one.path for one in stored_files(published, root, verify=False))


def _archive(archive: str | None, action: str) -> Path:
    if archive is None:
        raise SettingError(f"archive: no value given; must be a file, as in {action} archive=datasets.tar")
    return Path(archive)
