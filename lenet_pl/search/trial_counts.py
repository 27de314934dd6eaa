"""The trials of a study, counted by their state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

# User attributes of a trial
REASON = "reason"  # error message of a trial that failed by itself
INTERRUPTED = "interrupted"  # True after a signal
RETRY_OF = "retry_of"  # number of the trial that this one repeats
DEATHS = "deaths"  # number of processes killed in the trials that this one repeats


@dataclass
class TrialCounts:
    """The progress of a study.

    Attributes:
        finished: The trials that were completed or pruned, failed by themselves, or killed their process too often.
        running: The number of running trials.
        waiting: The number of enqueued trials that no worker has taken.
        lost: The killed or interrupted trials that are still to be repeated.
    """

    finished: list[FrozenTrial] = field(default_factory=list)
    running: int = 0
    waiting: int = 0
    lost: list[FrozenTrial] = field(default_factory=list)


def count(trials: Iterable[FrozenTrial], retries: int) -> TrialCounts:
    """Count the trials of a study.

    Args:
        trials: All trials of the study.
        retries: The maximum number of times that a trial whose process was killed is repeated.
    """
    tally, trials = TrialCounts(), list(trials)
    repeated = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            tally.running += 1
        elif trial.state == TrialState.WAITING:
            tally.waiting += 1
        elif not is_abandoned(trial) or crash_count(trial) > retries:
            tally.finished.append(trial)
        elif trial.number not in repeated:
            tally.lost.append(trial)
    return tally


def is_abandoned(trial: FrozenTrial) -> bool:
    """Return whether the process of a trial ended before the trial did."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def crash_count(trial: FrozenTrial) -> int:
    """Count the processes killed in an abandoned trial and those it repeats; interrupts do not count."""
    return int(trial.user_attrs.get(DEATHS, 0)) + (INTERRUPTED not in trial.user_attrs)
