"""Signals from a command's first import to its end: one error line, and the exit code 128 + signal number.

Before the command works, a signal ends the process at once. While it works, a signal raises an exception, so that files
can be cleaned up; during an import it does so afterwards, since a library may swallow the exception, or abort in C++.
Trainings install handlers themselves (`signals`). When the command is done, a signal is too late to change the outcome.

Imports only modules that Python itself has loaded or built in, since a signal before `listen` ends in a traceback.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal imports enum, which doubles the time to start Python
import gc
import os
import sys

from lenet_pl.runtime.postpone import postpone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

PACKAGE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - pathlib takes time to import
SCRIPTS = ("lenet", "lenet.exe")  # console scripts of the installed package
STOP_SIGNALS = tuple(getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name))
STARTED_BY_ANOTHER = "LENET_PL_LAUNCH" in os.environ  # by rank 0 of the same run, which reports for all
STARTING, WORKING, DONE = "starting", "working", "done"
GC_THRESHOLDS = (50_000, 20, 20)  # Python's own are (700, 10, 10)


class Interrupt(KeyboardInterrupt):
    """Ctrl-C. After a plain KeyboardInterrupt Python would kill itself at exit, whatever the exit code."""


class _State:
    """State of the command in this process.

    Attributes:
        name: Name of the command, for the error line.
        stage: One of STARTING, WORKING and DONE.
        received: Number of the first signal since the command started to work. None before it.
    """

    name = ""
    stage = STARTING
    received: int | None = None


CONSOLE = bool(sys.argv) and os.path.basename(sys.argv[0]) in SCRIPTS  # noqa: PTH119 - pathlib takes time to import


def as_typed(text: str) -> str:
    """Write each `python -m lenet_pl.train` in a text as `lenet train` if the user has typed that."""
    return text.replace("python -m lenet_pl.", "lenet ") if CONSOLE else text


def command_of(argv: Sequence[str], original: Sequence[str]) -> str:
    """Return the command that this process was started as, while its first module is imported. Empty if it is none.

    Args:
        argv: The value of sys.argv, which starts with "-m" while Python looks for the module.
        original: The value of sys.orig_argv.
    """
    if argv and os.path.basename(argv[0]) in SCRIPTS:  # noqa: PTH119 - pathlib takes time to import
        return argv[1] if len(argv) > 1 and argv[1].isidentifier() else "lenet"
    if list(argv[:1]) != ["-m"] or "-m" not in original[:-1]:
        return ""
    package, _, module = original[list(original).index("-m") + 1].partition(".")
    return (module or package) if package == "lenet_pl" and "." not in module else ""


def is_command(name: str) -> bool:
    """Whether a module of this package is a command. Other modules would exit with 0 and do nothing."""
    return name == "lenet_pl" or os.path.isfile(f"{PACKAGE}/{name}/__main__.py")  # noqa: PTH113


def refuse(name: str) -> None:
    """Exit with an error, since `name` is not a command."""
    from lenet_pl.errors import did_you_mean

    near = did_you_mean(name, [entry for entry in sorted(os.listdir(PACKAGE)) if is_command(entry)])  # noqa: PTH208
    print(f"error: {name}: no such command; {near + ' ' if near else ''}python -m lenet_pl lists them", file=sys.stderr)
    sys.exit(2)


def listen(name: str) -> None:
    """Install handlers for the signals that end a command. An ignored signal, as under nohup, stays ignored.

    The garbage collector then runs more rarely: imports allocate a million objects that stay, and looking through them
    again and again takes a tenth of the time until a command works.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    _State.name = name
    for number in STOP_SIGNALS:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _on_signal)
    sys.unraisablehook = _unraisable


class Working:
    """A context manager that raises signals as exceptions inside its block, and ignores the first one after it.

    Args:
        name: Name of the command.
    """

    def __init__(self, name: str) -> None:
        _State.name, _State.stage, _State.received = name, WORKING, None

    def __enter__(self) -> None:
        """Do nothing, as the constructor has set the state."""

    def __exit__(self, *_: object) -> None:
        _State.stage = DONE


def heard() -> int | None:
    """Return the number of the signal that was raised, which a library may have turned into another exception."""
    return _State.received


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _State.stage == DONE and _State.received is None:
        _State.received = number
        return
    if _State.stage != WORKING or _State.received is not None:  # a second signal ends the process at once
        _exit(number)
    if postpone(number, frame):
        return
    _State.received = number
    raise _exception(number)


def _exception(number: int) -> BaseException:
    from lenet_pl.runtime.signals import Interruption

    return Interrupt() if number == _signal.SIGINT else Interruption(number)


def _unraisable(lost: Any) -> None:
    """End the process if the exception of a signal cannot be raised, as in a destructor."""
    if _State.received is not None and lost.exc_value is not None and not isinstance(lost.exc_value, Exception):
        _exit(_State.received)
    sys.__unraisablehook__(lost)


def _exit(number: int) -> None:
    if _State.stage != DONE and not STARTED_BY_ANOTHER:
        what = "has not started" if _State.stage == STARTING else "is not finished"
        os.write(2, f"error: interrupted; {_State.name} {what}\n".encode())
    os._exit(128 + number)
