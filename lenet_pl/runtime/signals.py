"""Signal handling: the first signal ends a training after the current step with a checkpoint, a second one at once."""

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from lenet_pl.runtime.postpone import postpone

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# Schedulers announce preemption with these. They are handled only where a handler exists, such as one that requeues.
PREEMPTION_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))


class Interruption(BaseException):  # not an Exception, so that no `except Exception` takes it for a failure
    """A signal that ends the command.

    Args:
        signum: Number of the signal.
        resumable: Whether the state of the training is that after a complete step.

    Attributes:
        exit_code: Exit code of the command, 128 + `signum` as in shells.
        resumable: As the argument.
    """

    def __init__(self, signum: int, *, resumable: bool = False) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum
        self.resumable = resumable


class SignalHandler:
    """A context manager that turns signals into an `Interruption`, at once or after the current training step.

    Example::

        with SignalHandler() as signals:  # installs the handlers; a signal raises Interruption at once
            trainer = build_trainer(...)
            signals.install()  # in on_train_start, since Lightning has just installed its handlers
            signals.defer_to_step_end = True  # the first signal now waits for `check`
            for batch in loader:
                step(batch)
                signals.check()  # raises Interruption(resumable=True) after a signal
            signals.defer_to_step_end = False  # a signal raises Interruption at once again

    A second signal does not wait: it raises an Interruption that is not resumable, since a step may be incomplete.
    During an import, a signal raises its Interruption afterwards.

    SIGINT, SIGTERM and SIGHUP are handled unless they are ignored, as under nohup. SIGUSR1 and SIGUSR2 are handled only
    if they have a handler already. On exit the previous handlers are restored. After a SIGUSR1 or SIGUSR2 its previous
    handler is then called, so that a job is requeued once its checkpoint is written. If another library has turned the
    Interruption into an Exception, exit raises it again.

    Python allows handlers in the main thread only. In other threads the context manager does nothing.

    Attributes:
        defer_to_step_end: Whether the first signal waits for the next `check`.
        after_step: Functions that `check` calls first, thus after each optimizer step.
    """

    def __init__(self) -> None:
        self.defer_to_step_end = False
        self.after_step: list[Callable[[], None]] = []
        self._pending: int | None = None  # signal that waits for `check`
        self._raised: int | None = None  # kept, as a library that is being imported may swallow the exception
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "SignalHandler":
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, *PREEMPTION_SIGNALS)}
            handled = {n for n, handler in before.items() if n in STOP_SIGNALS and handler != signal.SIG_IGN}
            handled |= {n for n, handler in before.items() if n in PREEMPTION_SIGNALS and callable(handler)}
            self._before = {number: before[number] for number in handled}
            self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # The previous handler, such as one that requeues the job, runs now that all is saved
        number = error.exit_code - 128 if isinstance(error, Interruption) else 0
        if number in PREEMPTION_SIGNALS:
            self._before[number](number, None)
        if isinstance(error, Exception) and self._raised is not None:
            raise Interruption(self._raised) from error

    def install(self) -> None:
        """Install the handlers again, after a library has replaced them, as Lightning does when training starts."""
        for number in self._before:
            signal.signal(number, self._on_signal)

    def check(self) -> None:
        """Call the functions of `after_step`, then raise Interruption if a signal has arrived."""
        for function in self.after_step:
            function()
        if (number := self.arrived) is not None:
            raise Interruption(number, resumable=True)

    @property
    def arrived(self) -> int | None:
        """The number of the signal for which `check` will raise Interruption; None if none has arrived."""
        return self._pending if self._raised is None else self._raised

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.defer_to_step_end or self._pending is not None:
            if postpone(number, frame):
                return
            self._raised = number
            raise Interruption(number)
        self._pending = number
        print(f"\n{signal.Signals(number).name}: stopping after this step", file=sys.stderr)
