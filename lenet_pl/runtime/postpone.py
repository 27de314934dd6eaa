"""Signals that arrive during an import, when an exception could be swallowed by a library, or abort its C++ code.

Imports only modules that Python itself has loaded or built in; see `startup`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

PACKAGE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - pathlib takes time to import
AGAIN = 0.1  # s until a postponed signal is raised again


class _State:
    """Attributes: waiting, whether a signal is postponed; returning, whether the next signal is that one."""

    waiting = returning = False


def postpone(number: int, frame: FrameType | None) -> bool:
    """Whether a handler is to ignore a signal, which then comes again: during an import, unless it is a second signal.

    Args:
        number: The number of the signal.
        frame: The frame that it interrupted.
    """
    returned, _State.returning = _State.returning, False
    _State.waiting = is_importing(frame) and (returned or not _State.waiting)
    if _State.waiting:
        from threading import Timer

        timer = Timer(AGAIN, _raise_again, (number,))
        timer.daemon = True
        timer.start()
    return _State.waiting


def is_importing(frame: FrameType | None) -> bool:
    """Whether a function of this package, or the program itself, waits for an import, in which the frame is."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        if frame.f_code.co_filename.startswith(PACKAGE) and frame.f_code.co_name != "<module>":
            return False
        frame = frame.f_back
    return frame is not None


def _raise_again(number: int) -> None:
    _State.returning = True
    if hasattr(_signal, "pthread_kill"):  # not on Windows
        from threading import main_thread

        _signal.pthread_kill(main_thread().ident, number)  # which a signal to this thread would not wake
    else:
        _signal.raise_signal(number)
