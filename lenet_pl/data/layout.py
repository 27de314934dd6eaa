"""From a folder to training, validation and test part, with the classes and files of each."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from lenet_pl.data.ambiguity import (
    CLASSES,
    MOST_WRAPPERS,
    content,
    refuse_loose_images,
    refuse_mixed_parts,
    refuse_what_are_no_classes,
    spelling,
)
from lenet_pl.data.listing import Listing, Walk, is_table
from lenet_pl.data.part_names import PARTS, TEST, TRAINING, VALIDATION, part_of
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.settings import FolderDataSettings


class Part(NamedTuple):
    """A part of a data set."""

    path: Path  # folder of its class folders
    files: dict[str, list[Path]]  # class name → files that may be images, both in the order of reading


class Layout(NamedTuple):
    """What a data set consists of. Names and number of the classes are the same in all parts."""

    train: Part
    validation: Part | None  # None: to be taken from the training part
    test: Part | None  # None: to be taken from the training part
    notes: list[str]  # what a user should know, a line each


def find_layout(settings: FolderDataSettings) -> Layout:
    """Find parts, classes and files; look at names alone and open no file.

    Folders named like parts are the parts, else the folders are the classes. A folder that holds nothing but another
    one is passed through. With `layout=classes` none of this is asked, and every folder is a class.

    Raises:
        DataError: a folder is absent, unreadable or empty, or what it holds can be meant in two ways; the message tells
            what was seen, and how to say what is meant.
        SettingError: `test_path` is `path`, or there is another test part already.
    """
    return _Finder(asks=settings.layout == "auto").find(
        Path(settings.path), Path(settings.test_path) if settings.test_path else None
    )


class _Finder:
    """Looks for parts and classes, and notes what is left out."""

    def __init__(self, *, asks: bool) -> None:
        self.asks = asks
        self.walk = Walk()
        self.test_path: Path | None = None
        self.without = ""  # how to do without a part
        self.notes: list[str] = []
        self.left_out: dict[str, list[Path]] = defaultdict(list)

    def find(self, path: Path, test_path: Path | None) -> Layout:
        there = {path: "data.path"} | ({test_path: "data.test_path"} if test_path else {})
        for folder, key in there.items():
            _require_folder(folder, key)
        if test_path and test_path.resolve() == path.resolve():
            raise SettingError(f"data.test_path: {test_path} is data.path; accepted is a directory of other images")
        self.test_path = test_path
        listings = self._parts(self._look(path))
        if test_path and TEST in listings:
            raise SettingError(
                f"data.test_path: got {printable(test_path)} beside the test part {printable(listings[TEST].path)}; "
                f"must be one of the two: leave data.test_path out, or data.path={printable(listings[TRAINING].path)}"
            )
        if test_path:
            listings[TEST] = self.walk.look(test_path)
        self.without = f"; data.path={printable(listings[TRAINING].path)} takes validation and test images from there"
        classes = {name: self._classes(listing, name) for name, listing in listings.items()}
        for name in classes:
            _require_same_classes(classes[TRAINING], classes[name], self.without)
        parts = self._read(classes)
        if VALIDATION in parts:
            self.notes.append(
                f"validation images are those of {printable(parts[VALIDATION].path)}; data.split does not apply"
            )
        self._note_left_out()
        return Layout(parts[TRAINING], parts.get(VALIDATION), parts.get(TEST), self.notes)

    def _look(self, folder: Path) -> Listing:
        """List a folder, less the test part that `test_path` names."""
        found = self.walk.look(folder)
        if self.test_path is None:
            return found
        real = self.test_path.resolve()
        return found._replace(folders=[inner for inner in found.folders if inner.resolve() != real])

    def _parts(self, listing: Listing) -> dict[str, Listing]:
        """Tell parts from classes by the names of folders."""
        if not self.asks:
            return {TRAINING: listing}
        listing = self._unwrapped(listing, TRAINING)
        group = _named_as_parts(listing.folders)
        if not group:
            return {TRAINING: listing}
        beside = [folder for folder in listing.folders if folder not in group]
        if strange := [folder for folder in beside if self.walk.holds_images(folder)]:
            refuse_mixed_parts(self.walk, listing, group, strange)
        self.left_out["folder without images"] += beside
        self._leave_out(listing)
        names = Counter(group.values())
        if TRAINING not in names or max(names.values()) > 1:
            what = "no training part" if TRAINING not in names else "two folders for one part"
            raise DataError(
                f"data.path: {printable(listing.path)}: got {content(self.walk, listing)}: {what}; must be train, and "
                f"val and test if you like, once each; {CLASSES}"
            )
        return {name: self.walk.look(folder) for name in PARTS for folder in group if group[folder] == name}

    def _unwrapped(self, listing: Listing, part: str) -> Listing:
        """Pass through folders that hold nothing but one other folder with folders; none that is another part."""
        begun = listing
        for _ in range(MOST_WRAPPERS):
            if len(listing.folders) != 1 or listing.images:
                break
            other, rest = part_of(listing.folders[0].name)
            if other not in ("", part) and not rest:
                break
            inner = self._look(listing.folders[0])
            if inner.images or not inner.folders:
                break
            self._leave_out(listing)
            listing = inner
        if listing is not begun:
            self.notes.append(
                f"{printable(begun.path)} holds {printable(listing.path.relative_to(begun.path))}, which was taken"
            )
        return listing

    def _classes(self, listing: Listing, part: str) -> Listing:
        """Find the folder whose folders are the classes of a part."""
        key = "data.test_path" if part == TEST and self.test_path else "data.path"
        without = self.without if part != TRAINING else ""
        if self.asks:
            listing = self._unwrapped(listing, part)
            refuse_what_are_no_classes(self.walk, listing, key, without)
        if not listing.folders and listing.images:
            above = [file for file in self.left_out["other file"] if file.parent == listing.path.parent]
            refuse_loose_images(listing, key, [*listing.tables, *filter(is_table, above)], without)
        if len(listing.folders) < 2 and part == TRAINING:
            found = ", ".join(printable(folder.name) for folder in listing.folders) or "none"
            tables = ", ".join(printable(table.name) for table in listing.tables[:2])
            raise DataError(
                f"{key}: {printable(listing.path)} has {len(listing.folders)} class directories ({found}); accepted "
                f"are two or more{f'; labels in {tables} are not read' if tables else ''}"
            )
        self._leave_out(listing)
        return listing

    def _read(self, classes: dict[str, Listing]) -> dict[str, Part]:
        """List the files of all classes, after each of their folders was reserved."""
        for name, listing in classes.items():
            self.walk.own(listing.path, "")
            for folder in listing.folders:
                self.walk.own(folder, f"{name}/{folder.name}")
        for listing in classes.values():
            for folder in listing.path.parents:
                self.walk.pass_by(folder)
        parts = {}
        for name, listing in classes.items():
            files: dict[str, list[Path]] = {}
            for folder in listing.folders:
                files[folder.name], texts = self.walk.files(folder, f"{name}/{folder.name}")
                self.left_out["other file"] += texts
                if not files[folder.name]:
                    raise DataError(f"{printable(folder)}: no files; accepted is at least one image per class")
            parts[name] = Part(listing.path, files)
            deep = [f for folder in listing.folders for f in files[folder.name] if f.parent != folder]
            if deep:
                self.notes.append(
                    f"{len(deep):,} images lie in folders inside class folders and belong to the class, such as "
                    f"{printable(deep[0])}"
                )
        return parts

    def _leave_out(self, listing: Listing) -> None:
        """Count the files beside the folders that matter."""
        self.left_out["image beside the folders"] += listing.images
        self.left_out["other file"] += (*listing.texts, *listing.unknown)

    def _note_left_out(self) -> None:
        self.left_out["link to what is counted already"] += self.walk.again
        self.left_out["link that leads nowhere, or pipe"] += self.walk.broken
        found = [f"{len(paths)} × {what} ({printable(paths[0])})" for what, paths in self.left_out.items() if paths]
        if found:
            self.notes.append(f"left out: {'; '.join(found)}")


def _require_folder(path: Path, key: str) -> None:
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(
            f"{key}: {printable(path)} {what}; accepted is a directory with one directory of images per class"
        )


def _named_as_parts(folders: list[Path]) -> dict[Path, str]:
    """Choose the folders with names of parts: `train`, or several like `seg_train` and `seg_test`."""
    groups: dict[str, dict[Path, str]] = defaultdict(dict)
    for folder in folders:
        part, rest = part_of(folder.name)
        if part:
            groups[rest][folder] = part
    several = [g for rest, g in groups.items() if rest and TRAINING in g.values() and len(set(g.values())) > 1]
    return groups[""] or (several[0] if several else {})


def _require_same_classes(train: Listing, other: Listing, without: str) -> None:
    own, theirs = ([folder.name for folder in listing.folders] for listing in (train, other))
    if own == theirs:
        return
    odd = sorted(set(own) ^ set(theirs))
    what = f"{', '.join(map(printable, odd[:10]))}{', …' * (len(odd) > 10)} in only one of them"
    if {spelling(name) for name in own} == {spelling(name) for name in theirs}:
        what += ", where they differ only in case or Unicode form"
    raise DataError(
        f"{printable(other.path)}: classes differ from those of {printable(train.path)}: {what}; must be "
        f"the same{without}"
    )
