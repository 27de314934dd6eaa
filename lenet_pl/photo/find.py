"""Files, directories and globs → image files. Imports nothing heavy, so that a mistake is answered at once."""

import glob
from collections.abc import Sequence
from pathlib import Path

from lenet_pl.errors import DataError, printable
from lenet_pl.image_format import SUFFIXES


def find_images(places: Sequence[str]) -> list[Path]:
    """List the files that are meant, each once: directories are searched to the bottom, hidden files left out.

    Raises:
        DataError: a place does not exist, or has no images.
    """
    files: dict[Path, None] = {}
    for place in places:
        try:
            there = Path(place).exists()
        except (OSError, ValueError):  # too long a name, a null character
            there = False
        matches = [] if there else glob.glob(place, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [Path(place)] if there else sorted(map(Path, matches))
        if not found:
            what = "nothing matches it" if glob.has_magic(place) else "no such file or directory"
            raise DataError(f"images: {printable(place)}: {what}; accepted is an image file, a directory or a glob")
        inside = [file for path in found for file in (_images_in(path) if path.is_dir() else [path])]
        if not inside:
            raise DataError(f"images: {printable(place)} has no images; accepted are {', '.join(SUFFIXES)} files")
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
