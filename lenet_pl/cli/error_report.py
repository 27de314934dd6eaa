"""Reports of errors and interrupts on stderr, and the exit codes that follow."""

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from hydra.errors import HydraException

from lenet_pl.cli.bare_words import as_setting
from lenet_pl.cli.error_messages import exit_code, format_error
from lenet_pl.errors import display_path, printable
from lenet_pl.plugins.loading import given_plugins, line_in_plugin
from lenet_pl.runtime import startup
from lenet_pl.runtime.folder_lock import JOB_FILE
from lenet_pl.runtime.signals import Interruption


@contextlib.contextmanager
def signals_first() -> Iterator[None]:
    """Raise Interruption if a library has turned a signal into another error."""
    try:
        yield
    except Exception as error:
        if number := startup.heard():
            raise Interruption(number) from error
        raise


def report_interrupt(stop: BaseException, name: str, rank: int, *, resumable: Path | None, finished: bool) -> int:
    """Report that a signal ended the command, on rank 0 only, and return the exit code, 128 + its number.

    The exit code of another SystemExit is returned without a report.

    Args:
        stop: The exception that the signal raised.
        name: Name of the command.
        rank: Rank of this process.
        resumable: The folder of the run or of the sweep that can be resumed. None if there is none.
        finished: Whether the run has its results.
    """
    if isinstance(stop, Interruption):
        code = stop.exit_code
    elif isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        code = 130
    elif type(stop).__name__ == "SIGTERMException":  # Lightning's SystemExit without a code, which would mean success
        code = 143
    elif where := line_in_plugin(stop):
        print(f"error: plugins: {where} called sys.exit; {name} is not finished", file=sys.stderr)
        return _exit_code_of(stop) or 1
    else:
        return _exit_code_of(stop)
    advice = f"; use {resume_words(resumable)} to resume" if name == "train" and resumable else ""
    if rank == 0:
        what = "the results are written" if finished else f"{name} is not finished{advice}"
        print(f"error: interrupted; {what}", file=sys.stderr)
    return code


def resume_words(folder: Path) -> str:
    """Write the settings that resume a run or a sweep, quoted for Hydra and for the shell."""
    sweep = any(folder.glob(f"*/{JOB_FILE}"))
    word = as_setting("run", [display_path(folder)])
    if sweep:
        return f"the same command with {word} resume=auto"
    plugins = given_plugins()
    return f"plugins=[{','.join(plugins)}] {word} resume=true" if plugins else f"{word} resume=true"


def _exit_code_of(stop: BaseException) -> int:
    """Return the exit code of a SystemExit, whose `code` may be None or a text."""
    code = getattr(stop, "code", 1)
    return code if isinstance(code, int) else int(code is not None)


def report_error(error: Exception, name: str, *, started: bool) -> int:
    """Print one line, after the traceback if `traceback=true` is given, and return the exit code."""
    if "traceback=true" in (argument.lower() for argument in sys.argv):
        traceback.print_exception(error)
    line = format_error(error, name)
    if isinstance(error, OSError) and not isinstance(error, HydraException) and not started:
        line = f"run: {line}; must be a folder that can be written"
    where = "".join(f"{note}: " for note in getattr(error, "__notes__", []))
    print(f"error: {printable(startup.as_typed(where + line))}", file=sys.stderr)
    return exit_code(error)
