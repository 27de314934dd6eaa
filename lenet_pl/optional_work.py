"""Work that may fail without a result being lost: pictures, reports and logs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lenet_pl.errors import UserError, printable


@contextmanager
def optional(what: str, notes: list[str]) -> Iterator[None]:
    """Turn an error into a line on the terminal and in the notes; a signal still ends the work.

    Args:
        what: that is missing after an error, such as "curves.png".
        notes: receives the line.
    """
    try:
        yield
    except Exception as error:  # whatever it is, the figures are worth more than their picture
        notes.append(f"{what} is missing: {reason(error)}")
        print(f"note: {notes[-1]}", file=sys.stderr)


def reason(error: Exception) -> str:
    """Say on one line what went wrong; Lightning takes a full disk for a value that cannot be logged."""
    if isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename or ''}: {error.strerror}".removeprefix(": "))
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())[:300] or 'no message'}")
