"""A training of the lab: its process, the messages that come from it, and the actions that go to it."""

import contextlib
import threading
from typing import Any

from lenet_pl.cli.subprocess_job import describe_exit, start_context
from lenet_pl.lab.history import History
from lenet_pl.lab.process import LOG, LabJob, train_in_lab

ENDED = ("finished", "stopped", "failed", "killed")
ENDS_WITHIN = 30.0  # s in which a process writes its checkpoint after SIGTERM


class Training:
    """A run folder of the lab, and the process that trains in it, if there is one.

    Args:
        name: The name of the folder.
        state: What is known of the run: `label`, `command`, `status` and so on.
    """

    def __init__(self, name: str, **state: Any) -> None:
        self.name = name
        self.history = History({"name": name, **state})
        self._process: Any = None
        self._connection: Any = None
        self._follower: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self.history.state["status"] not in ENDED

    def start(self, job: LabJob) -> None:
        """Start a process that trains."""
        self.history.update(status="starting", error=None)
        context = start_context()
        self._connection, there = context.Pipe()
        self._process = context.Process(target=train_in_lab, args=(job, there), name=f"lab {self.name}")
        self._process.start()
        there.close()
        self.history.update(pid=self._process.pid)
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def action(self, action: str, value: Any = None) -> None:
        """Send an action, as `Watch` describes them; without a process nothing happens."""
        if self.running:
            with contextlib.suppress(OSError):  # it has just ended
                self._connection.send((action, value))

    def stop(self) -> None:
        """Ask the process to end after the current step, with a checkpoint from which the run can be resumed."""
        if self.running:
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once; the run can be resumed from the checkpoint of its last epoch."""
        if self.running:
            self._process.kill()

    def join(self) -> None:
        """Wait until the process has ended, and kill it if it does not."""
        if self._process is None:
            return
        self._process.join(ENDS_WITHIN)
        self.kill()
        self._process.join()
        if self._follower:
            self._follower.join()

    def _follow(self) -> None:
        end: dict[str, Any] = {}
        with contextlib.suppress(EOFError, OSError):
            while not end:
                message = self._connection.recv()
                if message["kind"] == "end":
                    end = message
                else:
                    self.history.take(message)
        self._process.join()
        self._connection.close()
        if not end:
            error = f"the process was {describe_exit(self._process.exitcode)}; see {LOG}"
            end = {"status": "killed", "error": error}
        self.history.update(status=end["status"], error=end["error"], pid=None)
