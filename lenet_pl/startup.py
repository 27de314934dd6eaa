"""Signals from a command's first import to its end: one line, and the exit code of shells, 128 + the signal's number.

While modules are imported an exception could be swallowed or turned into another one, so the process ends at once.
While the command works the signal is raised, so that whoever works can tidy up; trainings listen themselves
(`interruption`). When all is done, a signal comes too late to change the outcome.

Imports only what Python has loaded by itself: what comes before `listen` is answered with a traceback.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself imports enum, which takes as long as Python to start
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

SCRIPTS = ("lenet", "lenet.exe")  # installed beside Python
ENDING = tuple(getattr(_signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name))
STARTED_BY_ANOTHER = "LENET_PL_LAUNCH" in os.environ  # process of the same run, which speaks for all
STARTING, WORKING, DONE = "starting", "working", "done"


class Interrupt(KeyboardInterrupt):
    """Ctrl-C; no plain KeyboardInterrupt, after which Python kills itself at the end, whatever the exit code is."""


class _State:
    """What this process knows of its command.

    Attributes:
        name: of the command, for the line.
        stage: STARTING, WORKING or DONE.
        heard: the signal that was raised as an exception.
    """

    name = ""
    stage = STARTING
    heard: int | None = None


def command_of(argv: Sequence[str], original: Sequence[str]) -> str:
    """Tell which command this process was started as, while its first module is being imported; empty if it is none.

    Args:
        argv: sys.argv, which begins with "-m" while Python looks for the module.
        original: sys.orig_argv.
    """
    if argv and os.path.basename(argv[0]) in SCRIPTS:  # noqa: PTH119 - pathlib takes time to import
        return argv[1] if len(argv) > 1 and argv[1].isidentifier() else "lenet"
    if list(argv[:1]) != ["-m"] or "-m" not in original[:-1]:
        return ""
    package, _, module = original[list(original).index("-m") + 1].partition(".")
    return (module or package) if package == "lenet_pl" and "." not in module else ""


def is_command(name: str) -> bool:
    """Whether a module of this package is a command; others would be imported, and end with 0 and nothing done."""
    here = os.path.dirname(__file__)  # noqa: PTH120
    for file in (f"{here}/{name}.py", f"{here}/{name}/__main__.py"):
        if os.path.isfile(file):  # noqa: PTH113
            with open(file, encoding="utf-8") as stream:  # noqa: PTH123
                return '__name__ == "__main__":\n    run_' in stream.read()
    return name == "lenet_pl"


def refuse(name: str) -> None:
    """End the process, as `name` is no command."""
    from lenet_pl.errors import did_you_mean

    modules = {entry.removesuffix(".py") for entry in os.listdir(os.path.dirname(__file__))}  # noqa: PTH120, PTH208
    near = did_you_mean(name, [module for module in sorted(modules) if is_command(module)])
    print(f"error: {name}: no such command; {near + ' ' if near else ''}python -m lenet_pl lists them", file=sys.stderr)
    sys.exit(2)


def listen(name: str) -> None:
    """Answer the signals that end a command from now on; one that was ignored, as under nohup, still is."""
    _State.name = name
    for number in ENDING:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _answer)
    sys.unraisablehook = _unraisable


class Working:
    """Raise signals as exceptions inside, and ignore the first one after it.

    Args:
        name: of the command.
    """

    def __init__(self, name: str) -> None:
        _State.name, _State.stage, _State.heard = name, WORKING, None

    def __enter__(self) -> None:
        """Nothing is left to do."""

    def __exit__(self, *_: object) -> None:
        _State.stage = DONE


def heard() -> int | None:
    """Number of the signal that was raised, which a library may have turned into another exception."""
    return _State.heard


def _answer(number: int, frame: FrameType | None) -> None:
    if _State.stage == DONE and _State.heard is None:
        _State.heard = number
        return
    if _State.stage != WORKING or _State.heard is not None:  # a second one ends it at once
        _leave(number)
    _State.heard = number
    raise _exception(number)


def _exception(number: int) -> BaseException:
    from lenet_pl.interruption import Interruption

    return Interrupt() if number == _signal.SIGINT else Interruption(number)


def _unraisable(lost: Any) -> None:
    """End the process where a signal's exception cannot be raised, as in a destructor."""
    if _State.heard is not None and lost.exc_value is not None and not isinstance(lost.exc_value, Exception):
        _leave(_State.heard)
    sys.__unraisablehook__(lost)


def _leave(number: int) -> None:
    if _State.stage != DONE and not STARTED_BY_ANOTHER:
        what = "has not begun" if _State.stage == STARTING else "is not finished"
        os.write(2, f"error: interrupted; {_State.name} {what}\n".encode())
    os._exit(128 + number)
