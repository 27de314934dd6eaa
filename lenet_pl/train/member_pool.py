"""A pool of processes, each of which trains one of several members."""

import contextlib
import os
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from lenet_pl.cli.subprocess_job import describe_exit, start_context
from lenet_pl.cli.sweep import describe_result
from lenet_pl.errors import UserError, printable
from lenet_pl.runtime.signals import STOP_SIGNALS, Interruption, SignalHandler
from lenet_pl.train.member import Member
from lenet_pl.train.member_process import MemberJob, train_member

POLL = 0.1  # s between two checks for a signal


@dataclass
class _Running:
    """A member with its process."""

    member: Member
    process: Any
    answer: Connection
    start: float = field(default_factory=time.perf_counter)

    def outcome(self) -> Exception | None:
        """Wait for the end of the process, and return its error; None if the member is trained."""
        self.process.join()
        try:
            error: Exception | None = self.answer.recv()
        except EOFError:
            error = UserError(f"{describe_exit(self.process.exitcode or 1)}; use resume=auto to train it again")
        self.answer.close()
        return error


class MemberPool:
    """The processes of members that train at once.

    Args:
        size: The largest number of processes.
        signals: The signal handler of this process.
    """

    def __init__(self, size: int, signals: SignalHandler) -> None:
        self._size, self._signals = size, signals
        self._running: list[_Running] = []

    def train(self, jobs: deque[tuple[Member, MemberJob]]) -> list[Exception]:
        """Train the members of all jobs, in order; returns and errors as of `train_at_once`."""
        count, finished, failures = len(jobs), 0, []
        stop: Interruption | None = None
        self._signals.defer_to_step_end = True
        try:
            while jobs or self._running:
                try:
                    if stop is None:
                        self._signals.check()
                        while jobs and len(self._running) < self._size:
                            self._start(*jobs.popleft())
                    for run in self._ended():
                        error = run.outcome()
                        finished += 1
                        if error is None or stop is None:
                            _report(run, error, finished, count)
                        if error:
                            error.add_note(run.member.title)
                            failures.append(error)
                except Interruption as interruption:  # at the first signal; or anywhere above at a second one
                    stop = interruption
                    jobs.clear()
                    self._pass_on(interruption)
        finally:
            self._signals.defer_to_step_end = False
            for run in self._running:  # after an unexpected error
                run.process.terminate()
        if stop:
            raise stop
        return failures

    def _start(self, member: Member, job: MemberJob) -> None:
        member.folder.mkdir(exist_ok=True)
        context = start_context()
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=train_member, args=(job, there), name=member.title)
        process.start()
        there.close()
        self._running.append(_Running(member, process, here))

    def _ended(self) -> list[_Running]:
        """Wait shortly, and remove those whose processes have ended."""
        wait([run.process.sentinel for run in self._running], POLL)
        ended = [run for run in self._running if not run.process.is_alive()]
        self._running = [run for run in self._running if run not in ended]
        return ended

    def _pass_on(self, interruption: Interruption) -> None:
        """Send a signal to all processes. They have no handlers for those of schedulers, and get SIGTERM instead."""
        number = interruption.exit_code - 128
        for run in self._running:
            with contextlib.suppress(ProcessLookupError):
                if run.process.is_alive():
                    os.kill(run.process.pid, number if number in STOP_SIGNALS else signal.SIGTERM)


def _report(run: _Running, error: Exception | None, number: int, count: int) -> None:
    seconds = f"{time.perf_counter() - run.start:.0f} s"
    what = printable(str(error)) if error else f"finished, {describe_result(run.member.folder)}"
    print(f"{run.member.title}: {what}, {seconds} ({number} of {count})", flush=True)
