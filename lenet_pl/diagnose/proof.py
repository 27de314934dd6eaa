"""Tests of suspicions: the training of the run with one setting changed, for the same number of steps."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from lenet_pl.diagnose.changes import as_typed
from lenet_pl.diagnose.examination import Examination
from lenet_pl.diagnose.trial import train_briefly
from lenet_pl.diagnose.verdict import Proof, Suspicion, Verdict
from lenet_pl.errors import SettingError
from lenet_pl.settings.diagnose import DiagnoseSettings

# Accuracy. Less is a matter of tuning, not a fault
GAIN = 0.02
SURE = 2.0  # standard errors of the difference of two accuracies
CLEAR = 0.1  # accuracy; a smaller gain is confirmed with further seeds
SEEDS = 2  # further seeds
GUESS = 0.2  # confidence up to which a suspicion is no verdict without a short training
PROVED = 0.8  # confidence of a suspicion that a short training supports, whatever the gain


def judge(
    suspicions: Sequence[Suspicion],
    found: Examination,
    settings: DiagnoseSettings,
    tell: Callable[[str], None],
    signals: Any = None,
) -> list[Verdict]:
    """Test suspicions by short trainings, the strongest first, and order what remains by confidence.

    A suspicion that its short training does not support is dropped, unless it is a fact in itself.

    Args:
        suspicions: The suspicions.
        found: The examination.
        settings: The settings of the command.
        tell: A function that prints a line about the progress.
        signals: The signal handler of the process.

    Returns:
        All verdicts, including those with confidence 0.
    """
    verdicts = []
    left = settings.time_budget - found.replay.seconds
    for one in sorted(suspicions, key=lambda one: -one.confidence):
        untested = "" if one.change else "no setting shows it"
        untested = untested if settings.counter_runs else "counter_runs=false"
        if not untested and left < found.replay.seconds:
            untested = f"time_budget={settings.time_budget:g} is used up"
        if untested:
            verdicts.append(Verdict(one, None, untested, one.confidence if one.confidence > GUESS else 0.0))
            continue
        tell(f"{one.fault}: {found.replay.steps:,} steps with {as_typed(one.change)}")
        start = time.perf_counter()
        try:
            proof = counter_run(one, found, left, signals)
        except SettingError as error:  # a change that this network or data do not allow
            verdicts.append(Verdict(one, None, str(error), one.confidence))
            continue
        finally:
            left -= time.perf_counter() - start
        verdicts.append(Verdict(one, proof, "", confidence_of(one, proof)))
    return sorted(verdicts, key=lambda one: -one.confidence)


def counter_run(suspicion: Suspicion, found: Examination, seconds: float, signals: Any = None) -> Proof:
    """Train with the change, and compare with the run. A small gain is confirmed with further seeds, interleaved.

    Args:
        suspicion: The suspicion, with a change.
        found: The examination.
        seconds: The time that is left; further seeds are left out if it is too short.
        signals: The signal handler of the process.

    Raises:
        SettingError: The change does not fit the run.
    """
    run, replay = found.run, found.replay
    steps, change = replay.steps, suspicion.change
    start = time.perf_counter()
    if replay.diverged:  # a few steps say nothing about the changed training
        steps = max(steps, min(100, run.planned_steps))
    first = train_briefly(run, steps, change, seconds=seconds, signals=signals)
    seeds, before, after = [run.settings.seed], [replay.validation.accuracy], [first.validation.accuracy]
    rate = max(first.seconds, replay.seconds)
    while GAIN <= after[-1] - before[-1] < CLEAR and len(seeds) <= SEEDS:
        if seconds - (time.perf_counter() - start) < 2 * rate:
            break
        seed = seeds[-1] + 1
        seeds.append(seed)
        before.append(train_briefly(run, steps, seed=seed, signals=signals).validation.accuracy)
        after.append(train_briefly(run, steps, change, seed=seed, signals=signals).validation.accuracy)
    supports = is_gain(before, after, found.recorded_accuracy, replay.images)
    return Proof(as_typed(change), steps, seeds, before, after, found.recorded_accuracy, supports, replay.images)


def is_gain(before: Sequence[float], after: Sequence[float], recorded: float | None, images: int) -> bool:
    """Whether a change helps with every seed, by more than chance, and further than the whole run got.

    Args:
        before: The validation accuracy without the change, for each seed.
        after: The same with it.
        recorded: The best validation accuracy of the run; None if it had none.
        images: The number of validation images that judge.
    """
    for one, other in zip(before, after, strict=True):
        reached = max(one, recorded or 0.0)
        error = math.sqrt((reached * (1 - reached) + other * (1 - other)) / images)
        if other - reached < max(GAIN, SURE * error):
            return False
    return True


def confidence_of(suspicion: Suspicion, proof: Proof) -> float:
    """Compute the confidence after a short training: the more of the errors the change removes, the higher."""
    if not proof.supports:
        return suspicion.remains
    removed = [
        (after - before) / (1 - before) for before, after in zip(proof.before, proof.after, strict=True) if before < 1
    ]
    return max(suspicion.confidence, PROVED + (1 - PROVED) * sum(removed) / max(1, len(removed)))
