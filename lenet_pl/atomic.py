"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PART = ".part"  # ending of a file that is being written


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Write beside the destination, then rename: at every moment the old or the new file is there, and complete.

    The temporary file is in the same folder, so that the rename never crosses file systems.

    Args:
        path: of the file; its folder exists.

    Raises:
        OSError: it cannot be written; with its name.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:  # a full disk does not say of which file
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write(text.encode())


def sweep_parts(folder: Path) -> None:
    """Remove what killed writers have left in a folder and those below it."""
    for part in folder.rglob(f"*{PART}"):
        part.unlink(missing_ok=True)
