"""Optional work, such as plots, reports and logs, whose failure must not lose a result."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lenet_pl.errors import UserError, printable


@contextmanager
def optional(what: str, notes: list[str]) -> Iterator[None]:
    """Turn an error into a note, on stderr and in `notes`. Signals still end the work.

    Args:
        what: The output that is missing after an error, such as "curves.png".
        notes: The list that the note is appended to.
    """
    try:
        yield
    except Exception as error:  # of any kind: the metrics are worth more than their plot
        notes.append(f"{what} is missing: {reason(error)}")
        print(f"note: {notes[-1]}", file=sys.stderr)


def reason(error: Exception) -> str:
    """Describe an error in one line.

    An OSError that caused it takes precedence, as Lightning reports a full disk as a value that cannot be logged.
    """
    if isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename or ''}: {error.strerror}".removeprefix(": "))
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())[:300] or 'no message'}")
