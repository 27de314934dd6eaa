"""What one trial does: a training of its own folder, judged and perhaps ended early on the validation part."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import optuna
from lightning.pytorch.callbacks import Callback
from optuna.exceptions import ExperimentalWarning, TrialPruned, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from lenet_pl.errors import DataError, SettingError, UserError, printable
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.search import SamplerSettings
from lenet_pl.study.shared import INTERRUPTED, REASON, StoppedError, TrialError
from lenet_pl.study.space import Space
from lenet_pl.study.storage import StorageLostError, is_outage

Train = Callable[[TrainSettings, Path, list[Callback]], dict[str, Any]]


class EpochReporter(Callback):
    """Report the metric after each epoch, and end the training where the pruner says so.

    Epochs are counted from 1, which is what pruners with a budget call a resource. A training is not ended after its
    last epoch: there is nothing left to save.

    Args:
        trial: whose training it watches.
        metric: of the validation part.
    """

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.trial.report(float(trainer.callback_metrics[self.metric]), trainer.current_epoch + 1)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Here, not at the end of the epoch before, so that its figures and checkpoint are written
        if trainer.current_epoch and self.trial.should_prune():
            raise TrialPruned(f"after epoch {trainer.current_epoch}")


class Trial:
    """Base of what is done in a trial: one line for each, and a reason for each that fails.

    Args:
        train: the verb.
        folder: receives a folder for each trial.
        data_digest: of the images that all trials must have; None: they cannot change, or are meant to.

    Attributes:
        current: trial that was begun last.
    """

    name = "trial"

    def __init__(self, train: Train, folder: Path, data_digest: str | None = None) -> None:
        self.train, self.folder, self.data_digest = train, folder, data_digest
        self.current: optuna.Trial | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        """Train, and return the value.

        Raises:
            TrialPruned: the trial promised little.
            TrialError: its settings or its training failed.
            StoppedError: a signal came meanwhile.
        """
        self.current, begin = trial, time.monotonic()
        told = f"{self.name} {trial.number}"
        try:
            value = self.run(trial)
        except TrialPruned as pruned:
            print(f"{told}: pruned {pruned} at {_last(trial)}  {self.describe(trial)}", flush=True)
            raise
        except (StorageLostError, UpdateFinishedTrialError):
            raise
        except Exception as error:
            if is_outage(error):
                raise
            why = explain(error)
            trial.set_user_attr(REASON, why)
            print(f"{told}: failed: {printable(why)}  {self.describe(trial)}", flush=True)
            raise TrialError(why) from error
        except BaseException as stop:  # a signal, in one form or another
            trial.set_user_attr(INTERRUPTED, True)
            if isinstance(stop, KeyboardInterrupt):
                raise
            raise StoppedError(
                stop
            ) from None  # Optuna fails a trial on Ctrl-C, but leaves it running on another signal
        print(f"{told}: {value:.4f} in {time.monotonic() - begin:.0f} s  {self.describe(trial)}", flush=True)
        return value

    def run(self, trial: optuna.Trial) -> float:
        """Do the work of a trial; returns its value."""
        raise NotImplementedError

    def describe(self, trial: optuna.Trial) -> str:
        """What distinguishes the trial."""
        return show(trial.params)

    def train_quietly(self, settings: TrainSettings, place: Path, watchers: list[Callback]) -> dict[str, Any]:
        """Train without the tables that a training prints."""
        if place.exists() and any(place.iterdir()):
            raise SettingError(f"run: {place} is not empty; accepted is a new or an empty folder")
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            results = self.train(settings.model_copy(update={"run": str(place)}), place, watchers)
        if self.data_digest and results["data_digest"] != self.data_digest:
            raise DataError("data: the images have changed since the search was begun; accepted is the set as it was")
        return results


class SearchTrial(Trial):
    """Draw settings from the space and train with them.

    Args:
        train: the verb.
        folder: of the study.
        space: what is varied.
        metric: of the best epoch; the value.
        sampler: who proposes.
        data_digest: of the images.
    """

    def __init__(
        self,
        train: Train,
        folder: Path,
        space: Space,
        metric: str,
        sampler: SamplerSettings,
        data_digest: str | None = None,
    ) -> None:
        super().__init__(train, folder / "trials", data_digest)
        self.space, self.metric, self.sampler = space, metric, sampler

    def run(self, trial: optuna.Trial) -> float:
        # Workers with one seed would all propose the same; so each trial has its own, and the seed repeats a search
        trial.study.sampler = build_sampler(self.sampler, trial.number)
        values = {dimension.key: dimension.suggest(trial) for dimension in self.space.dimensions}
        settings = self.space.settings(values)
        results = self.train_quietly(settings, self.folder / str(trial.number), [EpochReporter(trial, self.metric)])
        for key in ("epochs", "best_epoch", "parameters", "training_seconds"):
            trial.set_user_attr(key, results[key])
        return float(results["metrics"][f"best/{self.metric}"])


class SeedTrial(Trial):
    """Train the best trial's settings with another seed, and test once.

    Args:
        train: the verb.
        folder: of the study.
        settings: of the best trial.
        number: of the best trial.
        data_digest: of the images.
    """

    def __init__(
        self, train: Train, folder: Path, settings: TrainSettings, number: int, data_digest: str | None = None
    ) -> None:
        super().__init__(train, folder / "seeds" / f"of_trial_{number}", data_digest)
        self.settings = settings

    name = "seed trial"

    def run(self, trial: optuna.Trial) -> float:
        seed = int(trial.user_attrs["seed"])
        place = self.folder / str(seed)
        if place.exists():  # a killed process has left it
            place = self.folder / f"{seed}_trial_{trial.number}"
        settings = self.settings.model_copy(update={"seed": seed, "test": True})
        results = self.train_quietly(settings, place, [])
        trial.set_user_attr("metrics", results["metrics"])
        return float(results["metrics"]["test/accuracy"])

    def describe(self, trial: optuna.Trial) -> str:
        return f"seed={trial.user_attrs['seed']}"


def build_sampler(settings: SamplerSettings, number: int) -> BaseSampler:
    """Build who proposes the values of the trial with this number."""
    seed = None if settings.seed is None else int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.name == "random":
        return RandomSampler(seed)
    # One dimension at a time, because what is drawn together is drawn before a trial can choose its seed. Trials under
    # way count as bad ones (constant_liar), so that workers do not crowd in one place
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # constant_liar is one before Optuna 5
        return TPESampler(n_startup_trials=settings.startup_trials, seed=seed, multivariate=False, constant_liar=True)


def explain(error: Exception) -> str:
    """Say on one line why a trial failed."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text[:300] or 'no message'}"


def show(values: dict[str, Any]) -> str:
    """Write settings as on a command line, floats to four digits."""
    given = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in values.items()}
    return printable(" ".join(f"{key}={value}" for key, value in given.items()))


def _last(trial: optuna.Trial) -> str:
    """The last value that was reported."""
    reported = trial.study._storage.get_trial(trial._trial_id).intermediate_values
    return f"{reported[max(reported)]:.4f}" if reported else "nothing"
