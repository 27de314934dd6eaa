"""The user's own images: one directory for each class."""

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.progress import track

from lenet_pl.data.content import digest_file
from lenet_pl.data.image_set import ImageSet, Origin, stratified_shares
from lenet_pl.errors import DataError, SettingError
from lenet_pl.settings import FolderDataSettings

FORMATS = ("PNG", "JPEG")
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
MAX_SIDE = 4096  # px; more is refused before decoding
_QUIET = 2000  # files that are read without a progress bar


def read_folder(settings: FolderDataSettings, image_size: int) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """Read all images, bring them to one size, and divide them into a training and a test part.

    Args:
        settings: `path` holds a directory for each class, or `train` and `test` with those.
        image_size: px, unless the settings say otherwise.

    Returns:
        Training part, test part, class names in alphabetical order.

    Raises:
        DataError: a directory or file is absent, empty, unreadable or no image.
    """
    path = Path(settings.path)
    train_path, test_path = path, Path(settings.test_path) if settings.test_path else None
    names = {d.name for d in _directories(path, "data.path")}
    if test_path is None and names == {"train", "test"}:
        train_path, test_path = path / "train", path / "test"
    elif test_path is None and {"train", "test"} <= names:
        raise DataError(
            f"data.path: {path} holds {', '.join(sorted(names))}; accepted are train and test alone (validation images "
            "are taken from train), or one directory of images per class"
        )
    if test_path and test_path.resolve() == train_path.resolve():
        raise SettingError(f"data.test_path: {test_path} is data.path; accepted is a directory of other images")
    files = _files(train_path, "data.path")
    classes = tuple(files)
    test_files = _files(test_path, "data.test_path") if test_path else {}
    if test_path and tuple(test_files) != classes:
        odd = sorted(set(classes) ^ set(test_files))
        raise DataError(f"{test_path}: classes differ from those of {train_path}: {', '.join(odd)} in only one of them")
    reader = _Reader(settings, settings.image_size or image_size)
    reader.choose_channels([f for group in (files, test_files) for fs in group.values() for f in fs])
    train = reader.read(files, path)
    if test_path:
        return train, reader.read(test_files, path if test_path.is_relative_to(path) else test_path.parent), classes
    count = round(len(train) * settings.test_fraction)
    if not 0 < count < len(train):
        raise SettingError(
            f"data.test_fraction: {settings.test_fraction} takes {count} of {len(train)} images; accepted is a share "
            "that leaves at least one on either side"
        )
    rest, test = stratified_shares(train.labels, count)
    return train.subset(rest), train.subset(test), classes


def _directories(path: Path, key: str) -> list[Path]:
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{key}: {path} {what}; accepted is a directory with one directory of images per class")
    return sorted(d for d in path.iterdir() if d.is_dir() and not d.name.startswith("."))


def _files(path: Path, key: str) -> dict[str, list[Path]]:
    """List the files of each class; hidden files are passed over."""
    directories = _directories(path, key)
    if len(directories) < 2:
        found = ", ".join(d.name for d in directories) or "none"
        raise DataError(f"{key}: {path} has {len(directories)} class directories ({found}); accepted are two or more")
    files = {
        d.name: sorted(f for f in d.rglob("*") if f.is_file() and not _hidden(f.relative_to(d))) for d in directories
    }
    for name, found_files in files.items():
        if not found_files:
            raise DataError(f"{path / name}: no files; accepted is at least one PNG or JPEG image per class")
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _open(file: Path) -> Image.Image:
    """Read an image's header; refuse a huge one before its pixels are decoded."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        image = Image.open(file, formats=FORMATS)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if max(image.size) > MAX_SIDE:
        image.close()
        raise ValueError(f"{image.width}×{image.height} px, more than {MAX_SIDE}")
    return image


class _Reader:
    """Brings files to uint8 (C, S, S)."""

    def __init__(self, settings: FolderDataSettings, size: int) -> None:
        self.settings = settings
        self.size = size
        self.mode = {"auto": "", "grey": "L", "rgb": "RGB"}[settings.colour]
        self.skipped: list[Path] = []

    def choose_channels(self, files: list[Path]) -> None:
        """Grey if every image is grey; looks at the files' headers only."""
        if self.mode:
            return
        for file in files:
            try:
                with _open(file) as image:
                    if image.mode not in ("1", "L", "LA", "I", "I;16", "I;16B"):
                        self.mode = "RGB"
                        return
            except UNREADABLE:
                continue  # `read` says which one and why
        self.mode = "L"

    def read(self, files: dict[str, list[Path]], root: Path) -> ImageSet:
        """Read the files of each class; their names are told relative to a folder above them."""
        pairs = [(file, label) for label, group in enumerate(files.values()) for file in group]
        images = torch.empty(len(pairs), len(self.mode), self.size, self.size, dtype=torch.uint8)
        labels: list[int] = []
        names: list[str] = []
        contents: list[int] = []
        for file, label in track(pairs, "reading images", disable=len(pairs) <= _QUIET, transient=True):
            try:
                images[len(labels)], content = self._read_one(file), digest_file(file)
            except UNREADABLE as error:
                if not self.settings.skip_unreadable:
                    why = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
                    raise DataError(
                        f"{file}: {why}; accepted are {' and '.join(FORMATS)} files; data.skip_unreadable=true leaves "
                        "such files out"
                    ) from None
                self.skipped.append(file)
            else:
                labels.append(label)
                contents.append(content)
                names.append(file.relative_to(root).as_posix())
        if len(set(labels)) < len(files):
            empty = [name for label, name in enumerate(files) if label not in set(labels)]
            raise DataError(f"{', '.join(empty)}: no readable image; accepted is at least one per class")
        if self.skipped:
            print(f"skipped {len(self.skipped)} unreadable files, the first is {self.skipped[0]}")
        return ImageSet(images[: len(labels)], torch.tensor(labels), origin=Origin(torch.tensor(contents), names))

    def _read_one(self, file: Path) -> torch.Tensor:
        with _open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bit per pixel; PIL would cut off above 255
                image = Image.fromarray((np.asarray(image, np.float64) / 257).round().clip(0, 255).astype(np.uint8))
            if image.has_transparency_data:
                back = Image.new("RGBA", image.size, (*[self.settings.background] * 3, 255))
                image = Image.alpha_composite(back, image.convert("RGBA"))
            image = image.convert(self.mode)
        wanted = (self.size, self.size)
        if self.settings.fit == "pad":
            colour = self.settings.background if self.mode == "L" else (self.settings.background,) * 3
            scale = self.size / max(image.size)
            width, height = (max(1, round(side * scale)) for side in image.size)  # a thin image keeps one px
            image = image.resize((width, height), Image.Resampling.BILINEAR)
            image = ImageOps.pad(image, wanted, Image.Resampling.BILINEAR, color=colour)
        elif image.size != wanted:
            image = image.resize(wanted, Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))
        return pixels[None] if self.mode == "L" else pixels.permute(2, 0, 1)
