"""Folders that can be meant in two ways, or that hold no classes: refused in a line that tells what was seen."""

import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import NoReturn

from lenet_pl.data.listing import Listing, Walk
from lenet_pl.data.part_names import part_of
from lenet_pl.errors import DataError, printable

CLASSES = "data.layout=classes takes every folder as a class"
CONTAINERS = {  # folders of a data set whose labels are elsewhere
    *("image", "images", "img", "imgs", "jpegimages", "jpegs", "jpg", "png", "photos", "pictures"),
    *("label", "labels", "annotation", "annotations", "mask", "masks", "imagesets", "segmentationclass"),
    *("segmentationobject", "bboxes", "xml", "xmls", "json", "csv", "gt", "groundtruth", "ground_truth"),
}
MOST_WRAPPERS = 4  # folders inside each other that hold nothing else; a link may make them endless
_SHOWN = 6  # folders and files that a line tells of


def content(walk: Walk, listing: Listing) -> str:
    """Tell in a few words what a folder holds: "cat/ (4 images), test/ (2 folders), labels.csv"."""
    words = []
    for folder in listing.folders[:_SHOWN]:
        inside = walk.look(folder)
        counts = ((len(inside.folders), "folder"), (len(inside.images), "image"))
        held = ", ".join(_count(number, what) for number, what in counts if number) or "no images"
        words.append(f"{printable(folder.name)}/ ({held})")
    if len(listing.folders) > _SHOWN:
        words.append(f"{len(listing.folders) - _SHOWN} more folders")
    words += [_count(len(listing.images), "image")] if listing.images else []
    words += [printable(table.name) for table in listing.tables[:2]]
    return ", ".join(words) or "nothing"


def spelling(name: str) -> str:
    """Bring names that look alike to one form, whatever their case and the system that wrote them."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def refuse_mixed_parts(walk: Walk, listing: Listing, group: dict[Path, str], strange: list[Path]) -> NoReturn:
    """Raise DataError for folders that are named like parts beside others with images.

    Args:
        walk: what lists folders.
        listing: the folder that holds both.
        group: folders named like parts, and which.
        strange: the others.
    """
    part = {name: printable(folder) for folder, name in group.items()}
    if "training" in part:
        way = f"data.path={part['training']}"
        if "test" not in part and len(strange) == 1:
            way = f"data.test_path={printable(strange[0])} takes that as the test part"
        elif "test" in part:
            way += f" data.test_path={part['test']} takes these two alone"
        else:
            way += " takes what is in it alone"
    elif "test" in part:
        way = f"data.test_path={part['test']} takes that as the test part and the other folders as classes"
    else:
        way = f"moving the class folders to {printable(listing.path / 'train')} makes them the training part"
    raise DataError(
        f"data.path: {printable(listing.path)}: got {content(walk, listing)}: parts and classes are mixed; must be "
        f"one or the other: {way}; {CLASSES}"
    )


def refuse_loose_images(listing: Listing, key: str, tables: list[Path], without: str = "") -> NoReturn:
    """Raise DataError for images without folders of classes.

    Args:
        listing: the folder that holds them.
        key: setting that led there.
        tables: files there and above, which may hold the labels.
        without: how to do without these images.
    """
    where = ""
    if names := _classes_in_names(listing.images):
        where = f", classes may be in the names ({', '.join(map(printable, names[:4]))}{', …' * (len(names) > 4)})"
    elif tables:
        where = f", labels may be in {', '.join(printable(table.name) for table in tables[:2])}"
    raise DataError(
        f"{key}: {printable(listing.path)}: got {_count(len(listing.images), 'image')} and no class folders{where}; "
        "must be a folder of images for each class, as tables and file names are not read; or NumPy files for "
        f"data=arrays{without}"
    )


def refuse_what_are_no_classes(walk: Walk, listing: Listing, key: str, without: str) -> None:
    """Raise DataError for folders that are probably not the classes of one part."""
    names = [folder.name for folder in listing.folders]
    seen = f"{key}: {printable(listing.path)}: got {content(walk, listing)}"
    if names and {name.lower() for name in names} <= CONTAINERS:
        if len(names) == 1 and not walk.look(listing.folders[0]).folders:
            refuse_loose_images(walk.look(listing.folders[0]), key, listing.tables, without)
        raise DataError(f"{seen}: no names of classes; must be a folder of images for each class; {CLASSES}")
    alike = defaultdict(list)
    for name in names:
        alike[spelling(name)].append(name)
    if same := next((group for group in alike.values() if len(group) > 1), None):
        raise DataError(
            f"{seen}: {' and '.join(map(printable, same))} differ only in case or Unicode form; must be one folder if "
            f"they are one class; {CLASSES}"
        )
    inside = {}  # of the folders that have folders and no images
    for folder in listing.folders:
        below = walk.look(folder)
        for _ in range(MOST_WRAPPERS):
            if len(below.folders) == 1 and not below.images:
                below = walk.look(below.folders[0])
        if below.folders and not below.images:
            inside[folder] = frozenset(f.name for f in below.folders)
    common, times = Counter(inside.values()).most_common(1)[0] if inside else (frozenset[str](), 0)
    if times < 2 or len(common) < 2 or 2 * times < len(inside):
        return
    first = next(folder for folder, below in inside.items() if below == common)
    shown = ", ".join(map(printable, sorted(common)[:4])) + ", …" * (len(common) > 4)
    way = f"data.path={printable(first)} takes {shown} as the classes"
    if all(part_of(name)[0] for name in common):
        part, name = printable(min(common)), printable(first.name)
        way = f"move {name}/{part} to {part}/{name}, and so on"
    elif {name.lower() for name in common} <= CONTAINERS:
        way = "move what are no images of the class elsewhere"
    raise DataError(f"{seen}: the same folders ({shown}) are in several of them; must be classes: {way}; {CLASSES}")


def _classes_in_names(files: list[Path]) -> list[str]:
    """Find what file names begin with where that might be a class: cat.0.jpg, cat.1.jpg, dog.0.jpg."""
    begins = Counter(re.sub(r"[\W_]*\(?\d+\)?$", "", file.stem) for file in files)
    begins.pop("", None)
    return sorted(begins) if 2 <= len(begins) <= max(2, len(files) // 2) else []


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
