"""Detection of the splits, classes and files in a folder of images."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from lenet_pl.data.layout_checks import (
    CLASSES,
    MAX_WRAPPERS,
    check_class_folders,
    content,
    reject_loose_images,
    reject_mixed_folders,
    require_folder,
    require_same_classes,
)
from lenet_pl.data.listing import Listing, Walk, is_table
from lenet_pl.data.split_names import SPLITS, TEST, TRAINING, VALIDATION, named_after_splits, parse_split_name
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.settings import FolderDataSettings


class SplitFiles(NamedTuple):
    """The files of one split."""

    path: Path  # the folder of the class folders
    files: dict[str, list[Path]]  # class name → files that may be images, both in reading order


class Layout(NamedTuple):
    """The splits of a dataset, all with the same classes."""

    train: SplitFiles
    validation: SplitFiles | None  # None: to be split off the training images
    test: SplitFiles | None  # None: to be split off the training images
    notes: list[str]  # notes for the user, one line each


def find_layout(settings: FolderDataSettings) -> Layout:
    """Find splits, classes and files from their names, without opening any file.

    Folders named after splits are the splits; otherwise all folders are classes. A folder that contains only one other
    folder is skipped. With `layout=classes`, every folder is a class.

    Raises:
        DataError: If a folder is missing, unreadable or empty, or its layout is ambiguous. The message shows the
            content of the folder and how to resolve the ambiguity.
        SettingError: If `test_path` equals `path`, or `path` already contains a test split.
    """
    return _Finder(detect=settings.layout == "auto").find(
        Path(settings.path), Path(settings.test_path) if settings.test_path else None
    )


class _Finder:
    """Search for splits and classes, with notes about files that are left out."""

    def __init__(self, *, detect: bool) -> None:
        self.detect = detect
        self.walk = Walk()
        self.test_path: Path | None = None
        self.without = ""  # advice for an unusable validation or test split
        self.notes: list[str] = []
        self.left_out: dict[str, list[Path]] = defaultdict(list)

    def find(self, path: Path, test_path: Path | None) -> Layout:
        there = {path: "data.path"} | ({test_path: "data.test_path"} if test_path else {})
        for folder, key in there.items():
            require_folder(folder, key)
        if test_path and test_path.resolve() == path.resolve():
            raise SettingError(f"data.test_path: {test_path} is data.path; must be a directory of other images")
        self.test_path = test_path
        listings = self._splits(self._look(path))
        if test_path and TEST in listings:
            raise SettingError(
                f"data.test_path: got {printable(test_path)} with the test split {printable(listings[TEST].path)}; "
                "must be one of the two: leave data.test_path out, or use "
                f"data.path={printable(listings[TRAINING].path)}"
            )
        if test_path:
            listings[TEST] = self.walk.look(test_path)
        self.without = f"; data.path={printable(listings[TRAINING].path)} splits validation and test images off it"
        classes = {name: self._classes(listing, name) for name, listing in listings.items()}
        for name in classes:
            require_same_classes(classes[TRAINING], classes[name], self.without)
        splits = self._list_files(classes)
        if VALIDATION in splits:
            self.notes.append(
                f"validation images come from {printable(splits[VALIDATION].path)}; data.split does not apply"
            )
        self._note_left_out()
        return Layout(splits[TRAINING], splits.get(VALIDATION), splits.get(TEST), self.notes)

    def _look(self, folder: Path) -> Listing:
        """List a folder without the test folder given by `test_path`."""
        found = self.walk.look(folder)
        if self.test_path is None:
            return found
        real = self.test_path.resolve()
        return found._replace(folders=[inner for inner in found.folders if inner.resolve() != real])

    def _splits(self, listing: Listing) -> dict[str, Listing]:
        """Find the split folders by their names; without any, the folder itself is the training split."""
        if not self.detect:
            return {TRAINING: listing}
        listing = self._unwrapped(listing, TRAINING)
        group = named_after_splits(listing.folders)
        if not group:
            return {TRAINING: listing}
        others = [folder for folder in listing.folders if folder not in group]
        if with_images := [folder for folder in others if self.walk.holds_images(folder)]:
            reject_mixed_folders(self.walk, listing, group, with_images)
        self.left_out["folder without images"] += others
        self._leave_out(listing)
        names = Counter(group.values())
        if TRAINING not in names or max(names.values()) > 1:
            what = "no training split" if TRAINING not in names else "two folders for one split"
            raise DataError(
                f"data.path: {printable(listing.path)}: got {content(self.walk, listing)}: {what}; must be one train "
                f"folder, with at most one val and one test folder; {CLASSES}"
            )
        return {name: self.walk.look(folder) for name in SPLITS for folder in group if group[folder] == name}

    def _unwrapped(self, listing: Listing, split: str) -> Listing:
        """Skip folders that contain only one other folder, unless that folder is named after another split."""
        outer = listing
        for _ in range(MAX_WRAPPERS):
            if len(listing.folders) != 1 or listing.images:
                break
            other, rest = parse_split_name(listing.folders[0].name)
            if other not in ("", split) and not rest:
                break
            inner = self._look(listing.folders[0])
            if inner.images or not inner.folders:
                break
            self._leave_out(listing)
            listing = inner
        if listing is not outer:
            self.notes.append(
                f"using {printable(listing.path.relative_to(outer.path))}, the only folder in {printable(outer.path)}"
            )
        return listing

    def _classes(self, listing: Listing, split: str) -> Listing:
        """Find the folder that contains the class folders of a split."""
        key = "data.test_path" if split == TEST and self.test_path else "data.path"
        without = self.without if split != TRAINING else ""
        if self.detect:
            listing = self._unwrapped(listing, split)
            check_class_folders(self.walk, listing, key, without)
        if not listing.folders and listing.images:
            above = [file for file in self.left_out["other file"] if file.parent == listing.path.parent]
            reject_loose_images(listing, key, [*listing.tables, *filter(is_table, above)], without)
        if len(listing.folders) < 2 and split == TRAINING:
            found = ", ".join(printable(folder.name) for folder in listing.folders) or "none"
            tables = ", ".join(printable(table.name) for table in listing.tables[:2])
            raise DataError(
                f"{key}: {printable(listing.path)} has {len(listing.folders)} class directories ({found}); must be "
                f"two or more{f'; labels in {tables} are not read' if tables else ''}"
            )
        self._leave_out(listing)
        return listing

    def _list_files(self, classes: dict[str, Listing]) -> dict[str, SplitFiles]:
        """List the files of all classes, after reserving all class folders."""
        for name, listing in classes.items():
            self.walk.own(listing.path, "")
            for folder in listing.folders:
                self.walk.own(folder, f"{name}/{folder.name}")
        for listing in classes.values():
            for folder in listing.path.parents:
                self.walk.pass_by(folder)
        splits = {}
        for name, listing in classes.items():
            files: dict[str, list[Path]] = {}
            for folder in listing.folders:
                files[folder.name], texts = self.walk.files(folder, f"{name}/{folder.name}")
                self.left_out["other file"] += texts
                if not files[folder.name]:
                    raise DataError(f"{printable(folder)}: no files; must contain at least one image")
            splits[name] = SplitFiles(listing.path, files)
            deep = [f for folder in listing.folders for f in files[folder.name] if f.parent != folder]
            if deep:
                self.notes.append(
                    f"{len(deep):,} images are in subfolders of class folders and belong to that class, for example "
                    f"{printable(deep[0])}"
                )
        return splits

    def _leave_out(self, listing: Listing) -> None:
        """Record the files next to class or split folders as left out."""
        self.left_out["image outside of class folders"] += listing.images
        self.left_out["other file"] += (*listing.texts, *listing.unknown)

    def _note_left_out(self) -> None:
        self.left_out["link to a file or folder counted already"] += self.walk.again
        self.left_out["broken link, pipe or device"] += self.walk.broken
        found = [f"{len(paths)} × {what} ({printable(paths[0])})" for what, paths in self.left_out.items() if paths]
        if found:
            self.notes.append(f"left out: {'; '.join(found)}")
