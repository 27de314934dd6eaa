"""Standard output and error of a command: the work goes on when they cannot be written, and the loss is told."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

PIPE_CLOSED = 141  # what shells tell of a program that SIGPIPE has ended


class Descriptor(io.FileIO):
    """A file descriptor that takes everything; what cannot be written is dropped.

    Attributes:
        lost: why something was dropped.
    """

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write, or drop."""
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return len(data)


@contextmanager
def own_streams() -> Iterator[Descriptor | None]:
    """Replace the process's own sys.stdout and sys.stderr; those that a program or a test has put there are left.

    Yields:
        What stdout writes to; None if it was left.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        yield None
        return
    sys.stdout, stdout = _open(1, sys.stdout)
    sys.stderr, _ = _open(2, sys.stderr)
    try:
        yield stdout
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def report_lost_output(code: int, stdout: Descriptor | None, *, worked: bool) -> int:
    """Tell that output was lost; return the exit code.

    A reader that went away has what it wanted: nothing is said, and a command that had nothing else to do ends as if
    by SIGPIPE, as others do.

    Args:
        code: of the command itself.
        stdout: what it wrote to, flushed.
        worked: whether it did more than to write there.
    """
    if stdout is None or stdout.lost is None:
        return code
    if isinstance(stdout.lost, BrokenPipeError):
        return code or (0 if worked else PIPE_CLOSED)
    kept = ", the files are written" if worked and not code else ""
    print(f"error: stdout: {stdout.lost.strerror}; the output is lost{kept}", file=sys.stderr)
    return code or 1


def _open(number: int, stream: TextIO | None) -> tuple[Any, Descriptor | None]:
    """Open a standard stream anew, with the properties of the one that Python has opened."""
    if (
        stream is None
    ):  # was closed; a file that is opened later must not get its number, and output of libraries with it
        empty = os.open(os.devnull, os.O_RDONLY)
        if empty != number:
            os.dup2(empty, number)
            os.close(empty)
    raw = Descriptor(number, "w", closefd=False)
    given: Any = stream or io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
    text = io.TextIOWrapper(
        raw if given.write_through else io.BufferedWriter(raw),
        encoding=given.encoding,
        errors=given.errors,
        line_buffering=given.line_buffering,
        write_through=given.write_through,
    )
    return text, raw
