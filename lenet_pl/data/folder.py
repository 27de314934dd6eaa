"""Datasets of image files, with one directory per class."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import track

from lenet_pl.data.image_dataset import ImageDataset, Origin
from lenet_pl.data.image_digests import digest_content
from lenet_pl.data.layout import SplitFiles, find_layout
from lenet_pl.data.pixels import LOSSY, Pixels
from lenet_pl.data.split import stratified_split
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.image_io.decode import ACCEPTED, MAX_BYTES, open_image, read_image
from lenet_pl.image_io.formats import START, name_format
from lenet_pl.settings import FolderDataSettings

MAX_FILE_BYTES = 150_000_000  # enough for an uncompressed RGBA file of 4096×4096 px with 16 bits per channel
READ = ACCEPTED.replace(f"{MAX_BYTES // 1_000_000} MB", f"{MAX_FILE_BYTES // 1_000_000} MB")
_QUIET = 2000  # files to read without a progress bar


class FolderImages(NamedTuple):
    """The splits of a folder of images."""

    train: ImageDataset
    validation: ImageDataset | None  # None: to be split off the training images
    test: ImageDataset
    classes: tuple[str, ...]  # in alphabetical order
    whole: ImageDataset | None  # training and test images, if the test images are a sample; None with a test folder


def read_folder(settings: FolderDataSettings, image_size: int) -> FolderImages:
    """Find splits and classes, read and resize all images, and split off test images if there is no test folder.

    Notes for the user, such as the files that were left out, are printed.

    Args:
        settings: The settings of the dataset. The folder `path` contains one directory per class, or one directory per
            split with one directory per class.
        image_size: The height and width of the result in px, unless the settings have their own.

    Returns:
        The splits, with uint8 images of shape (N, C, S, S), and the class names.

    Raises:
        DataError: If a directory or file is missing, empty, unreadable or not an image, or the layout is ambiguous.
        SettingError: If `test_path` or `test_fraction` does not fit the folder.
    """
    layout = find_layout(settings)
    splits = [split for split in (layout.train, layout.validation, layout.test) if split]
    reader = _Reader(settings, settings.image_size or image_size)
    images = dict(zip((split.path for split in splits), reader.read(splits), strict=True))
    for note in (*layout.notes, *reader.notes):
        print(f"note: {note}")
    train = images[layout.train.path]
    validation = images[layout.validation.path] if layout.validation else None
    classes = tuple(layout.train.files)
    if layout.test:
        return FolderImages(train, validation, images[layout.test.path], classes, None)
    count = round(len(train) * settings.test_fraction)
    if not 0 < count < len(train):
        raise SettingError(
            f"data.test_fraction: {settings.test_fraction} takes {count} of {len(train)} images; must be a fraction "
            "that leaves at least one training and one test image"
        )
    rest, test = stratified_split(train.labels, count)
    left = set(train.labels[rest].tolist())
    if gone := [name for k, name in enumerate(classes) if k not in left]:
        raise SettingError(
            f"data.test_fraction: {settings.test_fraction} leaves no training image of "
            f"{', '.join(map(printable, gone[:5]))}; must be a smaller fraction, or add images"
        )
    return FolderImages(train.subset(rest), validation, train.subset(test), classes, train)


class _Reader:
    """Reader of image files, which collects notes about skipped files."""

    def __init__(self, settings: FolderDataSettings, size: int) -> None:
        self.settings, self.size = settings, size
        self.notes: list[str] = []

    def read(self, splits: list[SplitFiles]) -> list[ImageDataset]:
        """Read the images of all splits, uint8 of shape (N, C, S, S).

        Raises:
            DataError: If a file is not an image, or no image of a class is left.
        """
        files = [
            (file, number, k)
            for number, split in enumerate(splits)
            for k, group in enumerate(split.files.values())
            for file in group
        ]
        pixels = Pixels(len(files), self.settings, self.size)
        kept: list[tuple[int, int]] = []  # split and label of each image
        contents: list[int] = []
        names: list[str] = []
        reasons: dict[str, list[Path]] = defaultdict(list)
        remarks: dict[str, list[Path]] = defaultdict(list)
        for file, number, label in track(files, "reading images", disable=len(files) <= _QUIET, transient=True):
            content, why = self._read_one(file, pixels, remarks)
            if not why:
                kept.append((number, label))
                contents.append(content)
                names.append(_name(file, self.settings))
            elif self.settings.skip_unreadable:
                reasons[why].append(file)
            else:
                raise DataError(f"{printable(file)}: {why}; {READ}; data.skip_unreadable=true leaves such files out")
        skipped = f"skipped {sum(map(len, reasons.values()))} unreadable files: {_counted(reasons)}" if reasons else ""
        there = set(kept)
        for number, split in enumerate(splits):
            empty = [name for k, name in enumerate(split.files) if (number, k) not in there]
            if empty:
                raise DataError(
                    f"{', '.join(map(printable, empty))}: no readable image in {printable(split.path)}; must be at "
                    f"least one per class; {skipped}"
                )
        array = torch.from_numpy(pixels.finish())
        self.notes += [*pixels.notes, *([_counted(remarks)] if remarks else []), *([skipped] if skipped else [])]
        whole = ImageDataset(
            array, torch.tensor([label for _, label in kept]), origin=Origin(torch.tensor(contents), names)
        )
        split_of = torch.tensor([number for number, _ in kept])
        return [whole.subset((split_of == number).nonzero()[:, 0]) for number in range(len(splits))]

    def _read_one(self, file: Path, pixels: Pixels, remarks: dict[str, list[Path]]) -> tuple[int, str]:
        """Append an image to `pixels`; return the digest of its file and, if it cannot be used, the reason."""
        name = printable(file)
        try:
            with file.open("rb") as stream:
                content = stream.read(MAX_FILE_BYTES + 1)
            kind, image = name_format(content[:START]), read_image(content, name, MAX_FILE_BYTES)
            for remark in image.info.get("notes", ()):
                remarks[remark].append(file)
            pixels.add(image, name, lossy=kind in LOSSY, wide_color=_is_wide_color(content, kind, name))
        except DataError as error:
            return 0, str(error).removeprefix(f"{name}: ").removesuffix(f"; {ACCEPTED}")
        except OSError as error:
            return 0, error.strerror or str(error)
        except ValueError as error:
            return 0, str(error)
        return digest_content(content), ""


def _name(file: Path, settings: FolderDataSettings) -> str:
    """Return the path of a file relative to the dataset, or relative to the parent of a separate test folder."""
    path = Path(settings.path)
    root = path if file.is_relative_to(path) or not settings.test_path else Path(settings.test_path).parent
    return file.relative_to(root).as_posix()


def _is_wide_color(content: bytes, kind: str, name: str) -> bool:
    """Whether an image has color, or gray and alpha, with 16 bits per channel."""
    if kind == "PNG":
        depth, color = content[24:26]  # the IHDR chunk always comes first
        return depth == 16 and color != 0
    if kind != "TIFF":
        return False
    with open_image(content, name, MAX_FILE_BYTES) as header:
        return not header.mode.startswith("I") and "16" in str(getattr(header, "tile", ""))


def _counted(found: dict[str, list[Path]]) -> str:
    return "; ".join(f"{len(files)} × {what} ({printable(files[0])})" for what, files in found.items())
