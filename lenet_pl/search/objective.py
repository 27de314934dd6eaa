"""The work of one trial: a training in a separate folder, scored and possibly pruned on the validation split."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from lightning.pytorch.callbacks import Callback
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError

from lenet_pl.errors import DataError, SettingError, UserError, printable
from lenet_pl.search.epoch_reporter import EpochReporter
from lenet_pl.search.sampler import build_sampler
from lenet_pl.search.space import Space
from lenet_pl.search.storage import StorageLostError, StudyStorage
from lenet_pl.search.trial_budget import TrialError
from lenet_pl.search.trial_counts import INTERRUPTED, REASON
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.search import SamplerSettings

Train = Callable[[TrainSettings, Path, list[Callback]], dict[str, Any]]


class TrialObjective:
    """Run a trial, print one line about it, and record the reason of a failure.

    Args:
        train: The function `lenet_pl.train.train`.
        folder: The parent of the trials' run folders.
        storage: The database that holds the study.
        data_digest: The digest of the images that all trials must use; None if it may change, or cannot.
    """

    name = "trial"

    def __init__(self, train: Train, folder: Path, storage: StudyStorage, data_digest: str | None = None) -> None:
        self.train, self.folder, self.storage, self.data_digest = train, folder, storage, data_digest

    def __call__(self, trial: optuna.Trial) -> float:
        """Train, and return the value.

        Raises:
            TrialPruned: The trial is unpromising.
            TrialError: The settings of the trial or its training failed.
        """
        start, title = time.monotonic(), f"{self.name} {trial.number}"
        try:
            value = self.run(trial)
        except TrialPruned as pruned:
            print(f"{title}: pruned {pruned} at {self._last_report(trial)}  {self.describe(trial)}", flush=True)
            raise
        except (StorageLostError, UpdateFinishedTrialError):
            raise
        except Exception as error:
            message = format_error(error)
            self.set_attributes(trial, {REASON: message})
            print(f"{title}: failed: {printable(message)}  {self.describe(trial)}", flush=True)
            raise TrialError(message) from error
        except BaseException:  # KeyboardInterrupt, Interruption, or the SystemExit that Lightning raises on a signal
            self.set_attributes(trial, {INTERRUPTED: True})
            raise
        print(f"{title}: {value:.4f} in {time.monotonic() - start:.0f} s  {self.describe(trial)}", flush=True)
        return value

    def run(self, trial: optuna.Trial) -> float:
        """Do the work of a trial, and return its value."""
        raise NotImplementedError

    def describe(self, trial: optuna.Trial) -> str:
        """Format the settings that distinguish the trial."""
        return show(trial.params)

    def set_attributes(self, trial: optuna.Trial, attributes: dict[str, Any]) -> None:
        """Set user attributes of the trial."""
        for key, value in attributes.items():
            self.storage.with_retries(partial(trial.set_user_attr, key, value))

    def train_quietly(self, settings: TrainSettings, place: Path, callbacks: list[Callback]) -> dict[str, Any]:
        """Train without the tables that a training prints."""
        if place.exists() and any(place.iterdir()):
            raise SettingError(f"run: {place} is not empty; must be a new or an empty folder")
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            results = self.train(settings.model_copy(update={"run": str(place)}), place, callbacks)
        if self.data_digest and results["data_digest"] != self.data_digest:
            raise DataError("data: the images have changed since the search started; restore them")
        return results

    def _last_report(self, trial: optuna.Trial) -> str:
        """Format the last value that the trial reported."""
        trials = self.storage.with_retries(lambda: trial.study.get_trials(deepcopy=False))
        reported = next(t for t in trials if t.number == trial.number).intermediate_values
        return f"{reported[max(reported)]:.4f}" if reported else "nothing"


class SearchTrial(TrialObjective):
    """Sample settings from the search space and train with them.

    Args:
        train: The function `lenet_pl.train.train`.
        folder: The folder of the search.
        storage: The database that holds the study.
        space: The search space.
        metric: The metric whose value in the best epoch is the value of the trial.
        sampler: The settings of the sampler.
        data_digest: The digest of the images that all trials must use; None if it may change, or cannot.
    """

    def __init__(
        self,
        train: Train,
        folder: Path,
        storage: StudyStorage,
        space: Space,
        metric: str,
        sampler: SamplerSettings,
        data_digest: str | None = None,
    ) -> None:
        super().__init__(train, folder / "trials", storage, data_digest)
        self.space, self.metric, self.sampler = space, metric, sampler

    def run(self, trial: optuna.Trial) -> float:
        # One sampler per trial: workers with the same seed would sample the same values, and the seed of the search
        # must reproduce it
        trial.study.sampler = build_sampler(self.sampler, trial.number)
        values = {d.key: self.storage.with_retries(partial(d.suggest, trial)) for d in self.space.dimensions}
        settings = self.space.settings(values)
        reporter = EpochReporter(trial, self.metric, self.storage)
        results = self.train_quietly(settings, self.folder / str(trial.number), [reporter])
        recorded = ("epochs", "best_epoch", "parameters", "training_seconds")
        self.set_attributes(trial, {key: results[key] for key in recorded})
        return float(results["metrics"][f"best/{self.metric}"])


class SeedTrial(TrialObjective):
    """Train with the settings of the best trial and another seed, and test once.

    Args:
        train: The function `lenet_pl.train.train`.
        folder: The folder of the search.
        storage: The database that holds the study.
        settings: The settings of the best trial.
        number: The number of the best trial.
        data_digest: The digest of the images that all trials must use; None if it may change, or cannot.
    """

    def __init__(
        self,
        train: Train,
        folder: Path,
        storage: StudyStorage,
        settings: TrainSettings,
        number: int,
        data_digest: str | None = None,
    ) -> None:
        super().__init__(train, folder / "seeds" / f"of_trial_{number}", storage, data_digest)
        self.settings = settings

    name = "seed trial"

    def run(self, trial: optuna.Trial) -> float:
        seed = int(trial.user_attrs["seed"])
        place = self.folder / str(seed)
        if place.exists():  # left by a killed process
            place = self.folder / f"{seed}_trial_{trial.number}"
        settings = self.settings.model_copy(update={"seed": seed, "test": True})
        results = self.train_quietly(settings, place, [])
        self.set_attributes(trial, {"metrics": results["metrics"]})
        return float(results["metrics"]["test/accuracy"])

    def describe(self, trial: optuna.Trial) -> str:
        return f"seed={trial.user_attrs['seed']}"


def format_error(error: Exception) -> str:
    """Format on one line why a trial failed."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text[:300] or 'no message'}"


def show(values: dict[str, Any]) -> str:
    """Format settings as overrides of a command line, with four significant digits for floats."""
    given = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in values.items()}
    return printable(" ".join(f"{key}={value}" for key, value in given.items()))
