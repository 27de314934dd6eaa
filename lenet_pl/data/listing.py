"""Listing of folders of images. Links are followed, and files created by operating systems are ignored."""

import os
from pathlib import Path
from typing import NamedTuple

from lenet_pl.errors import DataError, printable
from lenet_pl.image_io.formats import SUFFIXES

# In lower case. Hidden files such as `.DS_Store` and macOS's `._*` are ignored too.
IGNORED = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "$recycle.bin"),
    *("system volume information", "lost+found", "__pycache__"),
}
TABLES = {".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".parquet", ".mat", ".pkl"}
TEXTS = {
    *(".txt", ".md", ".rst", ".rtf", ".pdf", ".doc", ".docx", ".odt", ".html", ".htm", ".xml", ".yaml", ".yml"),
    *(".py", ".ipynb", ".sh", ".bat", ".log", ".cfg", ".toml", ".bib", ".url", ".zip", ".gz", ".tar", ".rar", ".7z"),
}
NON_IMAGES = TABLES | TEXTS
TEXT_NAMES = {"readme", "license", "licence", "copying", "makefile", "changelog", "citation", "authors", "credits"}


class Listing(NamedTuple):
    """The content of one folder, each list in alphabetical order."""

    path: Path
    folders: list[Path]
    images: list[Path]  # files with the suffix of an image
    texts: list[Path]  # files with the suffix or name of a text or table
    unknown: list[Path]  # all other files, which may be images
    links: set[Path]  # the files and folders that are symbolic links

    @property
    def tables(self) -> list[Path]:
        """The files that may contain labels."""
        return [file for file in self.texts if is_table(file)]


class Walk:
    """Lister of folders that tracks visited paths, so that links neither form circles nor duplicate images."""

    def __init__(self) -> None:
        self._reached: dict[str, tuple[str, Path]] = {}  # real path → owner, and the path by which it was reached
        self._listed: dict[Path, Listing] = {}
        self.again: list[Path] = []  # links to files and folders that were reached before
        self.broken: list[Path] = []  # broken links, pipes and devices

    def look(self, folder: Path) -> Listing:
        """List one folder.

        Raises:
            DataError: If the folder cannot be read.
        """
        if folder in self._listed:
            return self._listed[folder]
        found = self._listed[folder] = Listing(folder, [], [], [], [], set())
        try:
            with os.scandir(folder) as entries:
                kinds = {entry.name: _kind(entry) for entry in entries}
        except OSError as error:
            raise DataError(f"{printable(folder)}: {error.strerror}; must be a readable folder") from None
        for name in sorted(kinds):
            if name.startswith(".") or name.lower() in IGNORED:
                continue
            path, kind = folder / name, kinds[name]
            {"folder": found.folders, "image": found.images, "text": found.texts, "unknown": found.unknown}.get(
                kind.removesuffix(" link"), self.broken
            ).append(path)
            if kind.endswith(" link"):
                found.links.add(path)
        return found

    def own(self, folder: Path, owner: str) -> None:
        """Reserve a folder for its owner before files are listed.

        Args:
            folder: The folder to reserve.
            owner: The split and class of the folder, or an empty string for a folder of splits or classes.

        Raises:
            DataError: If a link makes it the same folder as that of another owner.
        """
        real = os.path.realpath(folder)
        if real in self._reached:
            raise _twice(folder, self._reached[real][1])
        self._reached[real] = owner, folder

    def pass_by(self, folder: Path) -> None:
        """Mark a folder above the classes as visited, so that links back to it are ignored."""
        self._reached.setdefault(os.path.realpath(folder), ("", folder))

    def files(self, folder: Path, owner: str) -> tuple[list[Path], list[Path]]:
        """List the files in a reserved folder and its subfolders.

        Args:
            folder: The reserved folder.
            owner: The owner for which it was reserved.

        Returns:
            The files that may be images, each once, and the texts.

        Raises:
            DataError: If a link leads to an image of another owner, or a folder cannot be read.
        """
        found: list[Path] = []
        texts: list[Path] = []
        todo = [folder]
        while todo:
            listing = self.look(todo.pop())
            real = os.path.realpath(listing.path)
            texts += listing.texts
            for file in (*listing.images, *listing.unknown):
                target = os.path.realpath(file) if file in listing.links else f"{real}{os.sep}{file.name}"
                if self._first(target, owner, file):
                    found.append(file)
            todo += [path for path in listing.folders if self._first(os.path.realpath(path), owner, path)]
        return sorted(found), texts

    def holds_images(self, folder: Path) -> bool:
        """Return whether a file in a folder or its subfolders has the suffix of an image."""
        seen, todo = {os.path.realpath(folder)}, [folder]
        while todo:
            listing = self.look(todo.pop())
            if listing.images:
                return True
            new = {os.path.realpath(path): path for path in listing.folders}
            todo += [path for real, path in new.items() if real not in seen]
            seen |= new.keys()
        return False

    def _first(self, real: str, owner: str, path: Path) -> bool:
        """Return whether a folder or file is reached for the first time."""
        before = self._reached.setdefault(real, (owner, path))
        if before[1] is path:
            return True
        if before[0] not in (owner, ""):
            raise _twice(path, before[1])
        self.again.append(path)
        return False


def is_table(file: Path) -> bool:
    """Return whether a file may contain labels, judged by its suffix."""
    return file.suffix.lower() in TABLES


def _kind(entry: "os.DirEntry[str]") -> str:
    try:
        link = " link" if entry.is_symlink() else ""
        if entry.is_dir():
            return f"folder{link}"
        if not entry.is_file():
            return "broken"
    except OSError:  # a link to itself
        return "broken"
    stem, suffix = os.path.splitext(entry.name.lower())  # noqa: PTH122 - ten times as fast as pathlib
    if suffix in SUFFIXES:
        return f"image{link}"
    return f"text{link}" if suffix in NON_IMAGES or stem in TEXT_NAMES else f"unknown{link}"


def _twice(path: Path, other: Path) -> DataError:
    return DataError(
        f"{printable(path)}: got the same file or folder as {printable(other)}, by a link; must be in only one class "
        "of one split"
    )
