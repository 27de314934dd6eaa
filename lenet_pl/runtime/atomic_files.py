"""Atomic file writes, which leave either the complete new file or the old one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PARTIAL_SUFFIX = ".part"  # suffix of a file while it is being written


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Write to a temporary file, then rename it, so that the old or the new file is complete at every moment.

    The temporary file is in the same folder, so that the rename never crosses file systems.

    Args:
        path: The destination, in an existing folder.

    Yields:
        The binary stream to write to.

    Raises:
        OSError: If the file cannot be written. The error names the destination.
    """
    temporary = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:  # the error of a full disk names no file
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_file(path) as stream:
        stream.write(text.encode())


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder and its subfolders."""
    for path in folder.rglob(f"*{PARTIAL_SUFFIX}"):
        path.unlink(missing_ok=True)
