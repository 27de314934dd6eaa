"""One worker of a search: opens the study, runs trials, and writes the results."""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from pathlib import Path
from typing import Any

import optuna
import torch
import yaml
from optuna.trial import FrozenTrial, TrialState

from lenet_pl.display.console import Console
from lenet_pl.errors import DataError, printable
from lenet_pl.plugins.loading import loaded_plugins
from lenet_pl.runtime.environment import describe_environment
from lenet_pl.runtime.startup import as_typed
from lenet_pl.search.best_experiment import write_experiment
from lenet_pl.search.create_study import make_study, open_study
from lenet_pl.search.database import open_storage
from lenet_pl.search.objective import SearchTrial, SeedTrial, Train, show
from lenet_pl.search.plots import draw_study
from lenet_pl.search.report import (
    describe_seeds,
    print_trials,
    rank,
    state,
    summarize_seeds,
    why,
    write_results,
    write_trials,
)
from lenet_pl.search.space import Space
from lenet_pl.search.trial_budget import SharedStudy
from lenet_pl.settings.search import SearchSettings


class SearchWorker:
    """A process that works on a study, alone or with others.

    Args:
        settings: The settings of the search.
        space: The search space.
        train: The function `lenet_pl.train.train`.
        data_digest: The digest of the images; None if their files are verified against published digests.

    Raises:
        UserError: The database cannot be used, or the study of this name is another search.
    """

    def __init__(self, settings: SearchSettings, space: Space, train: Train, data_digest: str | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # objective.py prints one line per trial
        self.settings, self.given, self.space, self.train = settings, settings.search, space, train
        self.home = Path(settings.run)
        self.home.mkdir(parents=True, exist_ok=True)
        self.storage = open_storage(settings)
        self.study = open_study(settings, self.storage, space, data_digest)
        varied = any(dimension.key.partition(".")[0] == "data" for dimension in space.dimensions)
        self.data_digest = None if varied else data_digest
        self.shared = SharedStudy(self.study, self.storage, self.given.n_trials, self.given.max_retry)
        self.deadline = None if self.given.timeout is None else time.monotonic() + self.given.timeout
        self.seeds: dict[str, Any] | None = None

    def start(self, folder: Path) -> None:
        """Write settings.yaml, without passwords, to the folder of this worker; print the progress of the study."""
        plain = self.settings.model_dump()
        if self.given.storage is not None:
            plain["search"]["storage"] = self.storage.place
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        (folder / "settings.yaml").write_text(f"# {platform.node()}, process {os.getpid()}\n{text}", encoding="utf-8")
        tally = self.shared.tally()
        where = printable(f"study {self.given.study_name} in {self.storage.place}")
        print(
            f"{where}: {len(tally.finished)} of {self.given.n_trials} trials finished, {tally.running} running",
            flush=True,
        )

    def work(self) -> None:
        """Run trials, then train the best one with `search.n_test_seeds` other seeds.

        Raises:
            StorageLostError: The database did not answer within the time limit.
        """
        given = self.given
        objective = SearchTrial(
            self.train, self.home, self.storage, self.space, given.metric, given.sampler, self.data_digest
        )
        self.shared.work(objective, self.deadline)
        best = self._best()
        if not given.n_test_seeds or best is None or len(self.shared.tally().finished) < given.n_trials:
            return
        name = f"{given.study_name}, seeds of trial {best.number}"
        study = self.storage.with_retries(lambda: make_study(self.storage, name, "maximize"))
        # Not the seed of the search, with which the best trial was selected
        seeds = range(self.settings.seed + 1, self.settings.seed + 1 + given.n_test_seeds)

        def next_seed(others: list[FrozenTrial]) -> dict[str, Any]:
            taken = {trial.user_attrs["seed"] for trial in others}
            return {"seed": next((seed for seed in seeds if seed not in taken), seeds[-1])}

        shared = SharedStudy(study, self.storage, given.n_test_seeds, given.max_retry, next_seed)
        settings = self.space.settings(self.space.parameters(best.params))
        seed_trial = SeedTrial(self.train, self.home, self.storage, settings, best.number, self.data_digest)
        shared.work(seed_trial, self.deadline)
        self.seeds = summarize_seeds(shared.trials(), best.number)

    def finish(self) -> dict[str, Any]:
        """Print the table, write tables and plots, and return the content of results.json.

        Raises:
            DataError: No trial was completed.
        """
        given, trials = self.given, self.shared.trials()
        keys = {dimension.key: dimension.name for dimension in self.space.dimensions}
        results = self._results(trials)
        write_results(self.home / "results.json", results)
        write_trials(self.home / "trials.csv", trials, keys, given.max_retry)
        print_trials(trials, given.metric, given.max_rows, given.max_retry)
        best = self._best()
        if best is None:
            reasons = [why(trial, given.max_retry) for trial in trials if trial.state != TrialState.WAITING]
            last = printable(reasons[-1]) if reasons else "none was started"
            raise DataError(f"search: none of {len(trials)} trials was completed; the last one: {last or 'no reason'}")
        self._write_best(best)
        missing = draw_study(self.study, self.home, given.metric, self.storage.with_retries)
        self._print_summary(best, results, missing)
        return results

    def _best(self) -> FrozenTrial | None:
        complete = [trial for trial in self.shared.trials() if trial.state == TrialState.COMPLETE]
        return rank(complete, self.given.metric)[0] if complete else None

    def _results(self, trials: list[FrozenTrial]) -> dict[str, Any]:
        best, counts = self._best(), dict.fromkeys(("complete", "pruned", "failed", "lost", "running", "waiting"), 0)
        for trial in trials:
            counts[state(trial, self.given.max_retry)] += 1
        params = self.space.parameters(best.params) if best else {}
        accelerator = self.settings.trainer.accelerator
        cuda = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
        return {
            "task": "search",
            "study": self.given.study_name,
            "storage": self.storage.place,
            "metric": self.given.metric,
            "data": self.settings.data.name,
            "space": self.space.describe(),
            "trials": {"asked": self.given.n_trials, **counts},
            "best": best
            and {
                "trial": best.number,
                "value": best.value,
                "settings": {
                    d.key: dict(d.choices)[params[d.key]] if d.choices else params[d.key] for d in self.space.dimensions
                },
                "folder": f"trials/{best.number}",
            },
            "test_seeds": self.seeds,
            **describe_environment(torch.device("cuda" if cuda else "cpu")),
        }

    def _write_best(self, best: FrozenTrial) -> None:
        values = f"{self.given.metric} {best.value:.4f}, trial {best.number} of study {self.given.study_name}"
        header = [
            f"Best of {len(self.shared.tally().finished)} trials: {values}.",
            f"command:  python -m lenet_pl.train {self._experiment()}",
            f"source:   python -m lenet_pl.search, over {', '.join(d.key for d in self.space.dimensions)}",
            f"expected: test accuracy {describe_seeds(self.seeds)}" if self.seeds else "expected: not tested",
        ]
        write_experiment(
            self.home / "experiment" / "best.yaml", self.space.settings(self.space.parameters(best.params)), header
        )

    def _experiment(self) -> str:
        plugins = f" plugins=[{','.join(loaded_plugins())}]" if loaded_plugins() else ""
        return f"hydra.searchpath=[file://{self.home}] experiment=best{plugins}"

    def _print_summary(self, best: FrozenTrial, results: dict[str, Any], missing: list[str]) -> None:
        done, asked = len(self.shared.tally().finished), self.given.n_trials
        installed = importlib.util.find_spec("optuna_dashboard") is not None
        lines = [f"{done} of {asked} trials are finished; use the same command to resume"] if done < asked else []
        lines += [f"no {line}" for line in missing]
        values = show(self.space.parameters(best.params))
        lines += [f"best: trial {best.number}, {self.given.metric} {best.value:.4f}: {values}"]
        lines += [f"test accuracy over other seeds: {describe_seeds(self.seeds)}"] if self.seeds else []
        lines += [
            f"train: python -m lenet_pl.train '{self._experiment().replace(' ', chr(39) + ' ', 1)}",
            f"dashboard: optuna-dashboard {self.storage.place}"
            + ("" if installed else "   (pip install optuna-dashboard)"),
            f"everything is in {printable(self.home)}",
        ]
        console = Console()
        for line in lines:
            console.print(as_typed(line), soft_wrap=True)
