"""Standard streams of a command, which continues when they cannot be written and reports the loss."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

PIPE_CLOSED = 141  # exit code that shells give a program killed by SIGPIPE


class Descriptor(io.FileIO):
    """A file descriptor that never fails. Data that cannot be written is dropped.

    Attributes:
        lost: The error of the first failed write. None if nothing was dropped.
    """

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write data, or drop it after the first failure."""
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return len(data)


@contextmanager
def own_streams() -> Iterator[Descriptor | None]:
    """Replace the process's own sys.stdout and sys.stderr, unless a program or a test has replaced them already.

    Yields:
        The descriptor that stdout writes to. None if the streams were not replaced.
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
    """Report lost output.

    A reader that closed the pipe has all it wants, so this is not reported. A command that only prints then has the
    exit code of a program killed by SIGPIPE.

    Args:
        code: Exit code of the command itself.
        stdout: The descriptor that stdout wrote to, flushed. None if stdout was not replaced.
        worked: Whether the command did more than print.

    Returns:
        The exit code of the process.
    """
    if stdout is None or stdout.lost is None:
        return code
    if isinstance(stdout.lost, BrokenPipeError):
        return code or (0 if worked else PIPE_CLOSED)
    kept = ", the files are written" if worked and not code else ""
    print(f"error: stdout: {stdout.lost.strerror}; the output is lost{kept}", file=sys.stderr)
    return code or 1


def _open(number: int, stream: TextIO | None) -> tuple[Any, Descriptor | None]:
    """Reopen a standard stream with the properties of the one that Python opened."""
    if stream is None:  # closed; else a file opened later would get its number, and with it the output of libraries
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
