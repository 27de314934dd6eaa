"""Search for image files. This module has no heavy imports, so that a wrong path is reported immediately."""

import glob
from collections.abc import Sequence
from pathlib import Path

from lenet_pl.errors import DataError, printable
from lenet_pl.image_io.formats import SUFFIXES


def find_images(places: Sequence[str]) -> list[Path]:
    """List image files, each once.

    Args:
        places: Image files, directories and globs. Directories are searched recursively, without hidden files.

    Returns:
        The files, in the order of `places`.

    Raises:
        DataError: If a place does not exist or contains no images.
    """
    files: dict[Path, None] = {}
    for place in places:
        try:
            there = Path(place).exists()
        except (OSError, ValueError):  # the name is too long or contains a null character
            there = False
        matches = [] if there else glob.glob(place, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [Path(place)] if there else sorted(map(Path, matches))
        if not found:
            what = "nothing matches it" if glob.has_magic(place) else "no such file or directory"
            raise DataError(f"images: {printable(place)}: {what}; must be an image file, a directory or a glob")
        inside = [file for path in found for file in (_images_in(path) if path.is_dir() else [path])]
        if not inside:
            raise DataError(f"images: {printable(place)} has no images; must contain {', '.join(SUFFIXES)} files")
        files |= dict.fromkeys(inside)
    return list(files)


def _images_in(directory: Path) -> list[Path]:
    return sorted(
        file
        for file in directory.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(directory).parts)
    )
