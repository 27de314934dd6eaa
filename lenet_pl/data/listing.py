"""What lies in a folder of images. Links are followed, and what operating systems leave behind is passed over."""

import os
from pathlib import Path
from typing import NamedTuple

from lenet_pl.errors import DataError, printable
from lenet_pl.image_format import SUFFIXES

# In lower case. Hidden files are passed over too, `.DS_Store` and macOS's `._*` among them.
RUBBISH = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "$recycle.bin"),
    *("system volume information", "lost+found", "__pycache__"),
}
TABLES = {".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".parquet", ".mat", ".pkl"}
TEXTS = {
    *(".txt", ".md", ".rst", ".rtf", ".pdf", ".doc", ".docx", ".odt", ".html", ".htm", ".xml", ".yaml", ".yml"),
    *(".py", ".ipynb", ".sh", ".bat", ".log", ".cfg", ".toml", ".bib", ".url", ".zip", ".gz", ".tar", ".rar", ".7z"),
}
NO_IMAGES = TABLES | TEXTS
TEXT_NAMES = {"readme", "license", "licence", "copying", "makefile", "changelog", "citation", "authors", "credits"}


class Listing(NamedTuple):
    """The content of one folder, each list in alphabetical order."""

    path: Path
    folders: list[Path]
    images: list[Path]  # by their suffix
    texts: list[Path]  # tables included, by their suffix or name
    unknown: list[Path]  # files that only their content can tell from images
    links: set[Path]  # those of the files that are symbolic links

    @property
    def tables(self) -> list[Path]:
        """Files that may hold labels."""
        return [file for file in self.texts if is_table(file)]


class Walk:
    """Lists folders, and remembers what was reached, so that no link leads in a circle or to an image twice."""

    def __init__(self) -> None:
        self._reached: dict[str, tuple[str, Path]] = {}  # real path → owner, and the path that led there
        self._listed: dict[Path, Listing] = {}
        self.again: list[Path] = []  # links to what is counted already
        self.broken: list[Path] = []  # links that lead nowhere, pipes, devices

    def look(self, folder: Path) -> Listing:
        """List one folder.

        Raises:
            DataError: it cannot be read.
        """
        if folder in self._listed:
            return self._listed[folder]
        found = self._listed[folder] = Listing(folder, [], [], [], [], set())
        try:
            with os.scandir(folder) as entries:
                kinds = {entry.name: _kind(entry) for entry in entries}
        except OSError as error:
            raise DataError(f"{printable(folder)}: {error.strerror}; must be a folder that can be read") from None
        for name in sorted(kinds):
            if name.startswith(".") or name.lower() in RUBBISH:
                continue
            path, kind = folder / name, kinds[name]
            {"folder": found.folders, "image": found.images, "text": found.texts, "unknown": found.unknown}.get(
                kind.removesuffix(" link"), self.broken
            ).append(path)
            if kind.endswith(" link"):
                found.links.add(path)
        return found

    def own(self, folder: Path, owner: str) -> None:
        """Reserve a folder before anything is listed.

        Args:
            folder: to be reserved.
            owner: names part and class; empty for a folder that holds parts or classes.

        Raises:
            DataError: a link makes it the folder of another owner.
        """
        real = os.path.realpath(folder)
        if real in self._reached:
            raise _twice(folder, self._reached[real][1])
        self._reached[real] = owner, folder

    def pass_by(self, folder: Path) -> None:
        """Let a link that leads back to a folder above the classes be passed over."""
        self._reached.setdefault(os.path.realpath(folder), ("", folder))

    def files(self, folder: Path, owner: str) -> tuple[list[Path], list[Path]]:
        """List what is in a reserved folder and below it.

        Returns:
            Files that may be images, each once, and texts.

        Raises:
            DataError: a link leads to an image of another owner, or a folder cannot be read.
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
        """Whether a file in a folder or below it has an image's suffix."""
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
        """Whether a folder or file is reached for the first time; a link back to what holds it is passed over."""
        before = self._reached.setdefault(real, (owner, path))
        if before[1] is path:
            return True
        if before[0] not in (owner, ""):
            raise _twice(path, before[1])
        self.again.append(path)
        return False


def is_table(file: Path) -> bool:
    """Whether a file may hold labels, by its suffix."""
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
    stem, suffix = os.path.splitext(entry.name.lower())  # noqa: PTH122 - ten times as fast as a Path
    if suffix in SUFFIXES:
        return f"image{link}"
    return f"text{link}" if suffix in NO_IMAGES or stem in TEXT_NAMES else f"unknown{link}"


def _twice(path: Path, other: Path) -> DataError:
    return DataError(
        f"{printable(path)}: got what {printable(other)} is or leads to; must be in one class of one part only"
    )
