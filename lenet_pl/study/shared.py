"""Several workers on one study, which together finish exactly as many trials as were asked for.

Optuna's `n_trials` counts for each process, and its MaxTrialsCallback looks after a trial, when others are under way:
with several workers there are more trials than asked for. Here a trial must be reserved before it is begun:

1. Under a lock that all workers share, on whatever machine, a worker counts the finished, running and waiting trials.
   Only if these are fewer than asked for it adds one waiting trial. Their sum thus never exceeds the number.
2. `Study.optimize` takes a waiting trial, in one transaction, or none: it never makes one (see `StudyStorage`).
3. A trial whose process was killed or interrupted counts as neither: its row stays, marked as failed, and the next
   reservation repeats it with the same values. Who has nothing left to begin waits for the running ones, which either
   finish or lose their sign of life.
4. A worker that was only stalled finds its trial taken from it: the database refuses its value, and it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from lenet_pl.study.storage import NoTrialLeftError, StorageLostError, StudyStorage, fail_stale_trials

REASON = "reason"  # attributes of a trial: why it failed by itself
INTERRUPTED = "interrupted"
RETRY_OF = "retry_of"  # number of the trial that it repeats
DEATHS = "deaths"  # processes that were killed over it before
POLL = 1.0  # s between two looks at the trials of others


class TrialError(Exception):
    """A trial ended with an error that is its own; the reason is in its attributes."""


class StoppedError(Exception):
    """A signal ended the process in the middle of a trial."""

    def __init__(self, signal: BaseException) -> None:
        super().__init__()
        self.signal = signal


class Objective(Protocol):
    """What a trial does.

    Attributes:
        current: trial that was begun last; None before the first.
    """

    current: optuna.Trial | None

    def __call__(self, trial: optuna.Trial) -> float: ...


@dataclass
class Tally:
    """How far a study is.

    Attributes:
        finished: trials that were completed or pruned, failed by themselves, or killed their process too often.
        running: number of trials under way.
        waiting: number of trials that nobody has begun.
        lost: trials that were killed or interrupted and not yet repeated.
    """

    finished: list[FrozenTrial] = field(default_factory=list)
    running: int = 0
    waiting: int = 0
    lost: list[FrozenTrial] = field(default_factory=list)

    @property
    def promised(self) -> int:
        """Trials that are or will be finished."""
        return len(self.finished) + self.running + self.waiting


def count(trials: Iterable[FrozenTrial], retries: int) -> Tally:
    """Sort the trials of a study.

    Args:
        trials: all of them.
        retries: how often a trial whose process was killed is begun again.
    """
    tally, trials = Tally(), list(trials)
    repeated = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            tally.running += 1
        elif trial.state == TrialState.WAITING:
            tally.waiting += 1
        elif not is_lost(trial) or deaths(trial) > retries:
            tally.finished.append(trial)
        elif trial.number not in repeated:
            tally.lost.append(trial)
    return tally


def is_lost(trial: FrozenTrial) -> bool:
    """Say whether a trial's process ended before the trial did."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def deaths(trial: FrozenTrial) -> int:
    """Count the processes that were killed over a lost trial and those it repeats; interrupts do not count."""
    return int(trial.user_attrs.get(DEATHS, 0)) + (INTERRUPTED not in trial.user_attrs)


class SharedStudy:
    """A study and the number of trials that all its workers finish together.

    Args:
        study: the study; its storage is a `StudyStorage`.
        storage: the same storage.
        wanted: trials in total.
        retries: how often a trial whose process was killed is begun again.
        attributes: chooses the attributes of a new trial, given all others.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: StudyStorage,
        wanted: int,
        retries: int,
        attributes: Callable[[list[FrozenTrial]], dict[str, Any]] = lambda _: {},
    ) -> None:
        self.study, self.storage, self.wanted, self.retries = study, storage, wanted, retries
        self.attributes = attributes

    def work(self, objective: Objective, deadline: float | None = None) -> None:
        """Do trials until all are finished, by whomever.

        Args:
            objective: what a trial does.
            deadline: of time.monotonic(), after which none is begun.

        Raises:
            StorageLostError: the database has gone away.
        """
        waited = False
        while deadline is None or time.monotonic() < deadline:
            step = self.storage.patiently(self._reserve)
            if step == "done":
                return
            if step == "wait":
                if not waited:
                    print("waiting for the trials of other workers", flush=True)
                waited = True
                time.sleep(POLL)
                continue
            try:
                self.study.optimize(objective, n_trials=1, catch=(TrialError,))
            except NoTrialLeftError:
                time.sleep(POLL / 10)  # another worker was faster
            except StoppedError as stop:
                raise stop.signal from None
            except StorageLostError:
                raise
            except Exception:
                if not self._was_taken_away(objective):
                    raise

    def tally(self) -> Tally:
        """Count the trials."""
        return count(self.study.get_trials(deepcopy=False), self.retries)

    def _reserve(self) -> str:
        """Add a waiting trial if one is still wanted; say whether to begin one, to wait for others, or to end."""
        with self.storage.exclusive(self.study._study_id):
            fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            tally = count(trials, self.retries)
            if len(tally.finished) >= self.wanted:
                return "done"
            if tally.promised < self.wanted:
                self._add(tally, trials)
            return "begin" if len(tally.finished) + tally.running < self.wanted else "wait"

    def _add(self, tally: Tally, trials: list[FrozenTrial]) -> None:
        if not tally.lost:
            gone = {trial.number for trial in trials if is_lost(trial) and deaths(trial) <= self.retries}
            self.study.enqueue_trial({}, self.attributes([t for t in trials if t.number not in gone]))
            return
        lost = tally.lost[0]
        own = {k: v for k, v in lost.user_attrs.items() if k != INTERRUPTED}
        self.study.enqueue_trial(lost.params, own | {RETRY_OF: lost.number, DEATHS: deaths(lost)})

    def _was_taken_away(self, objective: Objective) -> bool:
        """Say whether the trial failed because others had given it up, and tell so."""
        if objective.current is None:
            return False
        number = objective.current.number
        trial = next(t for t in self.study.get_trials(deepcopy=False) if t.number == number)
        if not is_lost(trial):
            return False
        print(f"trial {number}: gave no sign of life for too long; it is begun again", flush=True)
        return True
