"""Rejection of ambiguous folder layouts and of folders without classes, with a message that shows their content."""

import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import NoReturn

from lenet_pl.data.listing import Listing, Walk
from lenet_pl.data.split_names import parse_split_name
from lenet_pl.errors import DataError, printable

CLASSES = "data.layout=classes uses every folder as a class"
CONTAINERS = {  # folder names that are not classes, from datasets with labels in other files
    *("image", "images", "img", "imgs", "jpegimages", "jpegs", "jpg", "png", "photos", "pictures"),
    *("label", "labels", "annotation", "annotations", "mask", "masks", "imagesets", "segmentationclass"),
    *("segmentationobject", "bboxes", "xml", "xmls", "json", "csv", "gt", "groundtruth", "ground_truth"),
}
MAX_WRAPPERS = 4  # nested folders with nothing else in them to skip; the limit stops at circular links
_MAX_SHOWN = 6  # folders listed in a message


def content(walk: Walk, listing: Listing) -> str:
    """Summarize the content of a folder, as in "cat/ (4 images), test/ (2 folders), labels.csv"."""
    words = []
    for folder in listing.folders[:_MAX_SHOWN]:
        inside = walk.look(folder)
        counts = ((len(inside.folders), "folder"), (len(inside.images), "image"))
        summary = ", ".join(_count(number, what) for number, what in counts if number) or "no images"
        words.append(f"{printable(folder.name)}/ ({summary})")
    if len(listing.folders) > _MAX_SHOWN:
        words.append(f"{len(listing.folders) - _MAX_SHOWN} more folders")
    words += [_count(len(listing.images), "image")] if listing.images else []
    words += [printable(table.name) for table in listing.tables[:2]]
    return ", ".join(words) or "nothing"


def spelling(name: str) -> str:
    """Normalize the case and Unicode form of a name, so that names that look alike become equal."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def reject_mixed_folders(walk: Walk, listing: Listing, group: dict[Path, str], others: list[Path]) -> NoReturn:
    """Raise DataError for a folder that contains both split folders and other folders with images.

    Args:
        walk: The lister of folders.
        listing: The content of the folder.
        group: The folders named after splits, with their split.
        others: The other folders with images.
    """
    path_of = {split: printable(folder) for folder, split in group.items()}
    if "training" in path_of:
        way = f"data.path={path_of['training']}"
        if "test" not in path_of and len(others) == 1:
            way = f"data.test_path={printable(others[0])} uses it as the test split"
        elif "test" in path_of:
            way += f" data.test_path={path_of['test']} uses only these two"
        else:
            way += " uses only this folder"
    elif "test" in path_of:
        way = f"data.test_path={path_of['test']} uses it as the test split and the other folders as classes"
    else:
        way = f"move the class folders into {printable(listing.path / 'train')}, the training split"
    raise DataError(
        f"data.path: {printable(listing.path)}: got {content(walk, listing)}: splits and classes are mixed; must be "
        f"one or the other: {way}; {CLASSES}"
    )


def reject_loose_images(listing: Listing, key: str, tables: list[Path], without: str = "") -> NoReturn:
    """Raise DataError for images outside of class folders.

    Args:
        listing: The content of the folder.
        key: The setting that gave the folder.
        tables: The files in the folder and its parent that may contain the labels.
        without: Advice on how to train without these images.
    """
    where = ""
    if names := _classes_in_names(listing.images):
        where = f", classes may be in the names ({', '.join(map(printable, names[:4]))}{', …' * (len(names) > 4)})"
    elif tables:
        where = f", labels may be in {', '.join(printable(table.name) for table in tables[:2])}"
    raise DataError(
        f"{key}: {printable(listing.path)}: got {_count(len(listing.images), 'image')} and no class folders{where}; "
        "must be one folder of images per class (tables and file names are not read), or NumPy files for "
        f"data=arrays{without}"
    )


def check_class_folders(walk: Walk, listing: Listing, key: str, without: str) -> None:
    """Raise DataError if folders are probably not the classes of one split."""
    names = [folder.name for folder in listing.folders]
    seen = f"{key}: {printable(listing.path)}: got {content(walk, listing)}"
    if names and {name.lower() for name in names} <= CONTAINERS:
        if len(names) == 1 and not walk.look(listing.folders[0]).folders:
            reject_loose_images(walk.look(listing.folders[0]), key, listing.tables, without)
        raise DataError(f"{seen}: not class names; must be one folder of images per class; {CLASSES}")
    alike = defaultdict(list)
    for name in names:
        alike[spelling(name)].append(name)
    if same := next((group for group in alike.values() if len(group) > 1), None):
        raise DataError(
            f"{seen}: {' and '.join(map(printable, same))} differ only in case or Unicode form; must be one folder if "
            f"they are one class; {CLASSES}"
        )
    inside = {}  # subfolder names of the folders that contain folders but no images
    for folder in listing.folders:
        below = walk.look(folder)
        for _ in range(MAX_WRAPPERS):
            if len(below.folders) == 1 and not below.images:
                below = walk.look(below.folders[0])
        if below.folders and not below.images:
            inside[folder] = frozenset(f.name for f in below.folders)
    common, times = Counter(inside.values()).most_common(1)[0] if inside else (frozenset[str](), 0)
    if times < 2 or len(common) < 2 or 2 * times < len(inside):
        return
    first = next(folder for folder, below in inside.items() if below == common)
    shown = ", ".join(map(printable, sorted(common)[:4])) + ", …" * (len(common) > 4)
    way = f"data.path={printable(first)} uses {shown} as classes"
    if all(parse_split_name(name)[0] for name in common):
        split, name = printable(min(common)), printable(first.name)
        way = f"move {name}/{split} to {split}/{name}, and so on"
    elif {name.lower() for name in common} <= CONTAINERS:
        way = "move files that are not images of the class elsewhere"
    raise DataError(f"{seen}: the same folders ({shown}) are in several of them; must be classes: {way}; {CLASSES}")


def _classes_in_names(files: list[Path]) -> list[str]:
    """Find prefixes of file names that may be classes, as in cat.0.jpg, cat.1.jpg, dog.0.jpg."""
    prefixes = Counter(re.sub(r"[\W_]*\(?\d+\)?$", "", file.stem) for file in files)
    prefixes.pop("", None)
    return sorted(prefixes) if 2 <= len(prefixes) <= max(2, len(files) // 2) else []


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def require_folder(path: Path, key: str) -> None:
    """Raise DataError if `path`, the value of the setting `key`, is not a folder."""
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{key}: {printable(path)} {what}; must be a directory with one directory of images per class")


def require_same_classes(train: Listing, other: Listing, without: str) -> None:
    """Raise DataError if a split has other classes than the training split; `without` is appended to the message."""
    train_names, other_names = ([folder.name for folder in listing.folders] for listing in (train, other))
    if train_names == other_names:
        return
    odd = sorted(set(train_names) ^ set(other_names))
    what = f"{', '.join(map(printable, odd[:10]))}{', …' * (len(odd) > 10)} in only one of them"
    if {spelling(name) for name in train_names} == {spelling(name) for name in other_names}:
        what += ", where they differ only in case or Unicode form"
    raise DataError(
        f"{printable(other.path)}: classes differ from those of {printable(train.path)}: {what}; must be "
        f"the same{without}"
    )
