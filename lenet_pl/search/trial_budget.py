"""Several workers that together finish exactly the requested number of trials.

Optuna's `n_trials` counts per process, and its MaxTrialsCallback looks only after a trial, while others are running.
Measured on sqlite with 8 requested trials of 0.3 to 0.9 s: two workers finish 9 trials, four workers 10 or 11. Here a
trial is taken before it runs, with Optuna's ask-and-tell interface:

1. Under a lock that all workers share, a worker counts the finished and running trials. Only if their sum is below the
   requested number does it enqueue a trial and take it with `Study.ask`. The sum thus never exceeds the number.
2. The trial runs outside the lock, with heartbeats in a thread, and ends with `Study.tell`.
3. A trial whose process was killed or interrupted is neither finished nor running. Its row stays, marked as failed, and
   the next worker that takes a trial repeats it with the same values. A worker with nothing to take waits for the
   running trials, which either finish or miss their heartbeats.
4. A worker that was merely suspended finds that its trial has already failed. It drops the value and takes another one.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, TrialPruned, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from lenet_pl.search.storage import StorageLostError, StudyStorage
from lenet_pl.search.trial_counts import DEATHS, INTERRUPTED, RETRY_OF, TrialCounts, count, crash_count, is_abandoned

POLL = 1.0  # s between two looks at the trials of other workers

Objective = Callable[[optuna.Trial], float]


class TrialError(Exception):
    """A trial failed by itself; its attribute `reason` holds the message."""


class SharedStudy:
    """A study with the number of trials that its workers finish together.

    Args:
        study: The study.
        storage: The database that holds the study.
        wanted: The total number of trials.
        retries: The maximum number of times that a trial whose process was killed is repeated.
        attributes: A function that maps the other trials to the user attributes of a new one.
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
        """Run trials until all trials of the study are finished, by this worker or another.

        Args:
            objective: The function that runs a trial. It returns the value, or raises TrialPruned or TrialError.
            deadline: The `time.monotonic()` after which no trial starts; None for no limit.

        Raises:
            StorageLostError: The database did not answer within the time limit.
        """
        waited = False
        while deadline is None or time.monotonic() < deadline:
            if trial := self.storage.with_retries(self._take):
                self._run(objective, trial)
                continue
            if len(self.tally().finished) >= self.wanted:
                return
            if not waited:
                print("waiting for the trials of other workers", flush=True)
            waited = True
            time.sleep(POLL)

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number, not copied."""
        return self.storage.with_retries(lambda: self.study.get_trials(deepcopy=False))

    def tally(self) -> TrialCounts:
        """Count the trials."""
        return count(self.trials(), self.retries)

    def _take(self) -> optuna.Trial | None:
        """Take a trial if another one is needed; None otherwise."""
        with self.storage.study_lock(self.study), warnings.catch_warnings():
            # Heartbeats are experimental, and Optuna wants `optimize` with them, which records them itself
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with Study.optimize")
            optuna.storages.fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            tally = count(trials, self.retries)
            if len(tally.finished) + tally.running >= self.wanted:
                return None
            if not tally.waiting:  # a worker that was killed in this block has left its trial waiting
                self._enqueue(tally, trials)
            waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            # Before the trial runs: without any heartbeat, the trial of a killed worker would be running forever
            self.storage.backend.record_heartbeat(self._trial_id(waiting[0].number))
            return self.study.ask()

    def _enqueue(self, tally: TrialCounts, trials: list[FrozenTrial]) -> None:
        """Enqueue the repetition of a lost trial, or else a new trial."""
        if not tally.lost:
            gone = {trial.number for trial in trials if is_abandoned(trial) and crash_count(trial) <= self.retries}
            self.study.enqueue_trial({}, self.attributes([t for t in trials if t.number not in gone]))
            return
        lost = tally.lost[0]
        own = {k: v for k, v in lost.user_attrs.items() if k != INTERRUPTED}
        self.study.enqueue_trial(lost.params, own | {RETRY_OF: lost.number, DEATHS: crash_count(lost)})

    def _run(self, objective: Objective, trial: optuna.Trial) -> None:
        """Run a trial and store its result."""
        value: float | None = None
        state: TrialState | None = TrialState.FAIL
        try:
            with self.storage.heartbeats(self.storage.with_retries(lambda: self._trial_id(trial.number))):
                value, state = objective(trial), None
        except TrialPruned:
            state = TrialState.PRUNED
        except (TrialError, UpdateFinishedTrialError):  # the second: failed by another worker meanwhile
            pass
        except StorageLostError:
            raise
        except BaseException:  # a signal: another worker can repeat the trial at once
            self._tell(trial, None, TrialState.FAIL)
            raise
        if is_abandoned(self._tell(trial, value, state)):
            print(f"trial {trial.number}: missed its heartbeats; another trial repeats it", flush=True)

    def _tell(self, trial: optuna.Trial, value: float | None, state: TrialState | None) -> FrozenTrial:
        """Store the result of a trial unless it is already finished; returns the trial as stored."""

        def tell() -> FrozenTrial:
            return self.study.tell(trial, value, state, skip_if_finished=True)

        try:
            return self.storage.with_retries(tell)
        except UpdateFinishedTrialError:  # finished between Optuna's check and its write
            return self.storage.with_retries(tell)

    def _trial_id(self, number: int) -> int:
        study_id = self.storage.study_id(self.study)
        return self.storage.backend.get_trial_id_from_study_id_trial_number(study_id, number)
