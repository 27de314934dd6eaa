"""Signals: the first one lets a training end at its next step, with a checkpoint; a second one ends it at once."""

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Schedulers announce preemption by these; somebody listens already where a job is to be put back into the queue
ANNOUNCING = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Interruption(BaseException):  # no Exception, so that nothing on the way takes it for a failure
    """A signal that ends the work.

    Args:
        signum: number of the signal.
        between_steps: whether the state of the training is that after a whole step.
    """

    def __init__(self, signum: int, *, between_steps: bool = False) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum  # as shells count
        self.between_steps = between_steps


class Interruptible:
    """Turn signals into an Interruption, at once or where it costs least.

    Use it as a context manager. In a thread other than the main one it does nothing, as Python allows no handlers
    there. A signal that was ignored before, as under nohup, still is.

    Attributes:
        at_a_step: whether a loop runs that calls `check` after each step, so that the first signal can wait for that.
    """

    def __init__(self) -> None:
        self.at_a_step = False
        self._asked: int | None = None
        self._raised: int | None = None  # a library that is being imported may swallow it, and fail later
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruptible":
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in (*ENDING, *ANNOUNCING)}
            heard = {n for n, handler in before.items() if n in ENDING and handler != signal.SIG_IGN}
            heard |= {n for n, handler in before.items() if n in ANNOUNCING and callable(handler)}
            self._before = {number: before[number] for number in heard}
            self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # Whoever listened before, to put the job back into the queue for one, has the signal now that all is saved
        number = error.exit_code - 128 if isinstance(error, Interruption) else 0
        if number in ANNOUNCING:
            self._before[number](number, None)
        if isinstance(error, Exception) and self._raised is not None:
            raise Interruption(self._raised) from error

    def listen(self) -> None:
        """Take the signals again from who has taken them since, as Lightning does when it starts to train."""
        for number in self._before:
            signal.signal(number, self._heard)

    def check(self) -> None:
        """Raise Interruption if a signal has come."""
        number = self._asked if self._raised is None else self._raised
        if number is not None:
            raise Interruption(number, between_steps=True)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if not self.at_a_step or self._asked is not None:
            self._raised = number
            raise Interruption(number)
        self._asked = number
        print(f"\n{signal.Signals(number).name}: ends after this step", file=sys.stderr)
