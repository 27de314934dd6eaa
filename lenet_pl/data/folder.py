"""The user's own images: one directory for each class."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track

from lenet_pl.data.image_set import ImageSet, stratified_shares
from lenet_pl.data.layout import Part, find_layout
from lenet_pl.data.pixels import LOSSY, Pixels
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.image_file import ACCEPTED, MAX_BYTES, open_image, read_image
from lenet_pl.image_format import START, name_format
from lenet_pl.settings import FolderDataSettings

MOST_BYTES = 150_000_000  # of the user's own file: a PNG or TIFF of 4096×4096 px with 16 bits per channel has as many
READ = ACCEPTED.replace(f"{MAX_BYTES // 1_000_000} MB", f"{MOST_BYTES // 1_000_000} MB")
_QUIET = 2000  # files that are read without a progress bar


class FolderImages(NamedTuple):
    """The parts of a folder of images."""

    train: ImageSet
    validation: ImageSet | None  # None: to be taken from the training part
    test: ImageSet
    classes: tuple[str, ...]  # in alphabetical order


def read_folder(settings: FolderDataSettings, image_size: int) -> FolderImages:
    """Find parts and classes, read all images, bring them to one size, and take a test part where there is none.

    What a user should know of it, such as files that were left out, is printed.

    Args:
        settings: `path` holds a directory for each class, or directories of parts with those.
        image_size: px, unless the settings say otherwise.

    Raises:
        DataError: a directory or file is absent, empty, unreadable or no image, or the layout can be meant in two ways.
        SettingError: `test_path` or `test_fraction` does not fit what is there.
    """
    layout = find_layout(settings)
    parts = [part for part in (layout.train, layout.validation, layout.test) if part]
    reader = _Reader(settings, settings.image_size or image_size)
    images = dict(zip((part.path for part in parts), reader.read(parts), strict=True))
    for note in (*layout.notes, *reader.notes):
        print(f"note: {note}")
    train = images[layout.train.path]
    validation = images[layout.validation.path] if layout.validation else None
    classes = tuple(layout.train.files)
    if layout.test:
        return FolderImages(train, validation, images[layout.test.path], classes)
    count = round(len(train) * settings.test_fraction)
    if not 0 < count < len(train):
        raise SettingError(
            f"data.test_fraction: {settings.test_fraction} takes {count} of {len(train)} images; accepted is a share "
            "that leaves at least one on either side"
        )
    rest, test = stratified_shares(train.labels, count)
    left = set(train.labels[rest].tolist())
    if gone := [name for k, name in enumerate(classes) if k not in left]:
        raise SettingError(
            f"data.test_fraction: {settings.test_fraction} leaves no training image of "
            f"{', '.join(map(printable, gone[:5]))}; must be a smaller share, or add images"
        )
    return FolderImages(train.subset(rest), validation, train.subset(test), classes)


class _Reader:
    """Reads each file once, and tells what it left out and why."""

    def __init__(self, settings: FolderDataSettings, size: int) -> None:
        self.settings, self.size = settings, size
        self.notes: list[str] = []

    def read(self, parts: list[Part]) -> list[ImageSet]:
        """Read the images of all parts, uint8 (N, C, S, S).

        Raises:
            DataError: a file is no image, or none is left of a class.
        """
        files = [
            (file, number, k)
            for number, part in enumerate(parts)
            for k, group in enumerate(part.files.values())
            for file in group
        ]
        pixels = Pixels(len(files), self.settings, self.size)
        kept: list[tuple[int, int]] = []  # part and label of each image that was read
        reasons: dict[str, list[Path]] = defaultdict(list)
        remarks: dict[str, list[Path]] = defaultdict(list)
        for file, number, label in track(files, "reading images", disable=len(files) <= _QUIET, transient=True):
            why = self._read_one(file, pixels, remarks)
            if not why:
                kept.append((number, label))
            elif self.settings.skip_unreadable:
                reasons[why].append(file)
            else:
                raise DataError(f"{printable(file)}: {why}; {READ}; data.skip_unreadable=true leaves such files out")
        skipped = f"skipped {sum(map(len, reasons.values()))} unreadable files: {_counted(reasons)}" if reasons else ""
        there = set(kept)
        for number, part in enumerate(parts):
            empty = [name for k, name in enumerate(part.files) if (number, k) not in there]
            if empty:
                raise DataError(
                    f"{', '.join(map(printable, empty))}: no readable image in {printable(part.path)}; accepted is at "
                    f"least one per class; {skipped}"
                )
        array = torch.from_numpy(pixels.finish())
        self.notes += [*pixels.notes, *([_counted(remarks)] if remarks else []), *([skipped] if skipped else [])]
        return [self._part(array, kept, number) for number in range(len(parts))]

    def _part(self, array: torch.Tensor, kept: list[tuple[int, int]], number: int) -> ImageSet:
        """Take the images of a part, which are neighbors."""
        labels = [label for part, label in kept if part == number]
        first = next(row for row, (part, _) in enumerate(kept) if part == number)
        return ImageSet(array[first : first + len(labels)], torch.tensor(labels))

    def _read_one(self, file: Path, pixels: Pixels, remarks: dict[str, list[Path]]) -> str:
        """Append an image to `pixels`, or say why not."""
        name = printable(file)
        try:
            with file.open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
            kind, image = name_format(content[:START]), read_image(content, name, MOST_BYTES)
            for remark in image.info.get("notes", ()):
                remarks[remark].append(file)
            pixels.add(image, name, lossy=kind in LOSSY, wide_color=_is_wide_color(content, kind, name))
        except DataError as error:
            return str(error).removeprefix(f"{name}: ").removesuffix(f"; {ACCEPTED}")
        except OSError as error:
            return error.strerror or str(error)
        except ValueError as error:
            return str(error)
        return ""


def _is_wide_color(content: bytes, kind: str, name: str) -> bool:
    """Whether an image has color, or grey and alpha, with 16 bits per channel."""
    if kind == "PNG":
        depth, color = content[24:26]  # in the chunk that comes first
        return depth == 16 and color != 0
    if kind != "TIFF":
        return False
    with open_image(content, name, MOST_BYTES) as header:
        return not header.mode.startswith("I") and "16" in str(getattr(header, "tile", ""))


def _counted(found: dict[str, list[Path]]) -> str:
    return "; ".join(f"{len(files)} × {what} ({printable(files[0])})" for what, files in found.items())
