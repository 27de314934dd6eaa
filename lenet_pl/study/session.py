"""What one process does for a study: open it, work on it with others, and write what came out."""

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

from lenet_pl.console import Console
from lenet_pl.environment import describe_environment
from lenet_pl.errors import DataError, printable
from lenet_pl.settings.search import SearchSettings
from lenet_pl.study.best import write_experiment
from lenet_pl.study.database import open_storage
from lenet_pl.study.objective import SearchTrial, SeedTrial, Train, show
from lenet_pl.study.opening import make_study, open_study
from lenet_pl.study.pictures import draw_study
from lenet_pl.study.report import (
    describe_seeds,
    print_trials,
    rank,
    state,
    summarise_seeds,
    why,
    write_results,
    write_trials,
)
from lenet_pl.study.shared import SharedStudy
from lenet_pl.study.space import Space


class Session:
    """One process and its study.

    Args:
        settings: of the search.
        space: what is varied.
        train: the verb.
        data_digest: of the images; None: their files are verified against published digests.

    Raises:
        UserError: the database cannot be used, or the study searches something else.
    """

    def __init__(self, settings: SearchSettings, space: Space, train: Train, data_digest: str | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # a line for each trial is ours
        self.settings, self.given, self.space, self.train = settings, settings.search, space, train
        self.home = Path(settings.run)
        self.home.mkdir(parents=True, exist_ok=True)
        self.storage = open_storage(settings)
        self.study = open_study(settings, self.storage, space, data_digest)
        varied = any(dimension.key.partition(".")[0] == "data" for dimension in space.dimensions)
        self.data_digest = None if varied else data_digest
        self.shared = SharedStudy(self.study, self.storage, self.given.trials, self.given.retries)
        self.deadline = None if self.given.timeout is None else time.monotonic() + self.given.timeout
        self.seeds: dict[str, Any] | None = None

    def begin(self, folder: Path) -> None:
        """Note what this process was asked to do, less passwords, and say how far the study is."""
        plain = self.settings.model_dump()
        if self.given.storage is not None:
            plain["search"]["storage"] = self.storage.place
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        (folder / "settings.yaml").write_text(f"# {platform.node()}, process {os.getpid()}\n{text}", encoding="utf-8")
        tally = self.shared.tally()
        where = printable(f"study {self.given.study} in {self.storage.place}")
        print(
            f"{where}: {len(tally.finished)} of {self.given.trials} trials finished, {tally.running} under way",
            flush=True,
        )

    def work(self) -> None:
        """Do trials, then train the best one with other seeds if that was asked for.

        Raises:
            StorageLostError: the database has gone away.
        """
        given = self.given
        objective = SearchTrial(self.train, self.home, self.space, given.metric, given.sampler, self.data_digest)
        self.shared.work(objective, self.deadline)
        best = self._best()
        if not given.seeds_of_best or best is None or len(self.shared.tally().finished) < given.trials:
            return
        name = f"{given.study}, seeds of trial {best.number}"
        study = make_study(self.storage, name, "maximize")
        # Not the seed of the search, which the best trial may owe its place to
        seeds = range(self.settings.seed + 1, self.settings.seed + 1 + given.seeds_of_best)

        def next_seed(others: list[FrozenTrial]) -> dict[str, Any]:
            taken = {trial.user_attrs["seed"] for trial in others}
            return {"seed": next((seed for seed in seeds if seed not in taken), seeds[-1])}

        shared = SharedStudy(study, self.storage, given.seeds_of_best, given.retries, next_seed)
        settings = self.space.settings(best.params)
        shared.work(SeedTrial(self.train, self.home, settings, best.number, self.data_digest), self.deadline)
        self.seeds = summarise_seeds(study.get_trials(deepcopy=False), best.number)

    def finish(self) -> dict[str, Any]:
        """Print the table, write tables and pictures; returns what results.json holds.

        Raises:
            DataError: no trial was completed.
        """
        given, trials = self.given, self.study.get_trials(deepcopy=False)
        keys = [dimension.key for dimension in self.space.dimensions]
        results = self._results(trials)
        write_results(self.home / "results.json", results)
        write_trials(self.home / "trials.csv", trials, keys, given.retries)
        print_trials(trials, given.metric, given.rows, given.retries)
        best = self._best()
        if best is None:
            reasons = [why(trial, given.retries) for trial in trials if trial.state != TrialState.WAITING]
            last = printable(reasons[-1]) if reasons else "none was begun"
            raise DataError(f"search: none of {len(trials)} trials was completed; the last one: {last or 'no reason'}")
        self._write_best(best)
        missing = draw_study(self.study, self.home, given.metric)
        self._say(best, results, missing)
        return results

    def _best(self) -> FrozenTrial | None:
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return rank(complete, self.given.metric)[0] if complete else None

    def _results(self, trials: list[FrozenTrial]) -> dict[str, Any]:
        best, counts = self._best(), dict.fromkeys(("complete", "pruned", "failed", "lost", "running", "waiting"), 0)
        for trial in trials:
            counts[state(trial, self.given.retries)] += 1
        accelerator = self.settings.trainer.accelerator
        cuda = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
        return {
            "task": "search",
            "study": self.given.study,
            "storage": self.storage.place,
            "metric": self.given.metric,
            "data": self.settings.data.name,
            "space": self.space.describe(),
            "trials": {"asked": self.given.trials, **counts},
            "best": best
            and {
                "trial": best.number,
                "value": best.value,
                "settings": {
                    d.key: dict(d.choices)[best.params[d.key]] if d.choices else best.params[d.key]
                    for d in self.space.dimensions
                },
                "folder": f"trials/{best.number}",
            },
            "seeds_of_best": self.seeds,
            **describe_environment(torch.device("cuda" if cuda else "cpu")),
        }

    def _write_best(self, best: FrozenTrial) -> None:
        values = f"{self.given.metric} {best.value:.4f}, trial {best.number} of study {self.given.study}"
        header = [
            f"Best of {len(self.shared.tally().finished)} trials: {values}.",
            f"command:  python -m lenet_pl.train {self._experiment()}",
            f"source:   python -m lenet_pl.search, over {', '.join(d.key for d in self.space.dimensions)}",
            f"expected: test accuracy {describe_seeds(self.seeds)}" if self.seeds else "expected: not tested",
        ]
        write_experiment(self.home / "experiment" / "best.yaml", self.space.settings(best.params), header)

    def _experiment(self) -> str:
        return f"hydra.searchpath=[file://{self.home}] experiment=best"

    def _say(self, best: FrozenTrial, results: dict[str, Any], missing: list[str]) -> None:
        done, asked = len(self.shared.tally().finished), self.given.trials
        there = importlib.util.find_spec("optuna_dashboard") is not None
        lines = [f"{done} of {asked} trials are finished; the same command continues"] if done < asked else []
        lines += [f"no {line}" for line in missing]
        lines += [f"best: trial {best.number}, {self.given.metric} {best.value:.4f}: {show(best.params)}"]
        lines += [f"its test accuracy over other seeds: {describe_seeds(self.seeds)}"] if self.seeds else []
        lines += [
            f"train with it: python -m lenet_pl.train '{self._experiment().replace(' ', chr(39) + ' ', 1)}",
            f"look at it with: optuna-dashboard {self.storage.place}"
            + ("" if there else "   (pip install optuna-dashboard)"),
            f"everything is in {printable(self.home)}",
        ]
        console = Console()
        for line in lines:
            console.print(line, soft_wrap=True)
