"""Train once per seed, one after another in one process, with a run folder per seed and a common table."""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from lenet_pl.artifacts.result_table import print_seeds
from lenet_pl.artifacts.results_file import RESULTS, make_way, read_end
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.identity import write_identity
from lenet_pl.data.run_images import RunImages, images_of_run
from lenet_pl.display.text import as_json, label
from lenet_pl.engine.build import build_datamodule, build_task, without_resume
from lenet_pl.engine.callbacks import Callbacks, for_each
from lenet_pl.engine.device import check_device, device_kind
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import DataError, DivergenceError, SettingError, display_path
from lenet_pl.runtime.atomic_files import remove_partial_files, write_text
from lenet_pl.runtime.environment import describe_environment
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.runtime.threads import choose_threads
from lenet_pl.settings import TrainSettings

Train = Callable[..., dict[str, Any]]


def train_seeds(
    settings: TrainSettings,
    folder: Path,
    signals: SignalHandler,
    train_one: Train,
    callbacks: Callbacks = (),
) -> dict[str, Any]:
    """Train with each of `settings.seeds`, one after another, except those whose runs are finished.

    A finished run with fewer epochs than requested is trained further, unless it stopped early.

    Args:
        settings: The common settings of all trainings.
        folder: The folder for config.yaml, the run folders `seed_<seed>`, and results.json.
        signals: The signal handler of the process.
        train_one: The function that trains with one seed: `lenet_pl.train.train_one`.
        callbacks: Lightning callbacks, copied for each training, or a function of its settings that builds them.

    Returns:
        The content of results.json, as documented in `lenet_pl.train.train`.

    Raises:
        UserError: Settings, files or devices cannot be used.
        DivergenceError: A training diverged; raised after all other seeds are trained.
        Interruption: A signal arrived; the command can be resumed.
    """
    start = time.perf_counter()
    if settings.trainer.num_devices > 1:
        raise SettingError(
            f"trainer.devices: got {settings.trainer.devices} with seeds; must be 1, or use seed= instead of seeds="
        )
    check_device(settings.trainer)
    recorded = images_of_run(settings, *(folder / f"seed_{seed}" for seed in settings.seeds or ()))
    data = build_datamodule(settings, recorded)
    session = MultiSeedRun(settings, folder, signals, train_one, data, callbacks)
    # Building a network first reports invalid settings before anything is measured or written
    network, example = build_task(settings, data).model, data.example_input()
    torch.set_num_threads(settings.trainer.num_threads or choose_threads(network, example, settings.loader.batch_size))
    missing = session.unfinished_seeds()
    remove_partial_files(folder)
    make_way(folder)  # before config.yaml may ask for more epochs
    text = yaml.safe_dump(without_resume(settings), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)
    write_identity(folder, data.identity)
    kept = f"; {len(session.seeds) - len(missing)} are finished" if len(missing) < len(session.seeds) else ""
    print(f"{len(session.seeds)} seeds, one after another{kept}", flush=True)
    failures = session.train(missing)
    if failures:
        raise failures[0]
    return session.finish(time.perf_counter() - start)


class MultiSeedRun:
    """Trainings with several seeds that share their images.

    Args:
        settings: The common settings, with `seeds`.
        folder: The folder that contains their run folders.
        signals: The signal handler of the process.
        train_one: The function that trains with one seed.
        data: The data module whose images are shared.
        callbacks: Lightning callbacks, copied for each training, or a function of its settings that builds them.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path,
        signals: SignalHandler,
        train_one: Train,
        data: ImageDataModule,
        callbacks: Callbacks = (),
    ) -> None:
        assert settings.seeds is not None
        self.settings, self.folder, self.seeds, self.data = settings, folder, settings.seeds, data
        self.signals, self.train_one, self.callbacks = signals, train_one, for_each(callbacks)

    def folder_of(self, seed: int) -> Path:
        """Return the run folder of a seed."""
        return self.folder / f"seed_{seed}"

    def unfinished_seeds(self) -> list[int]:
        """Return the seeds without results, or with those of a shorter training."""
        limit = self.settings.trainer.max_epochs if self.settings.train else 0
        ends = {seed: read_end(self.folder_of(seed)) for seed in self.seeds}
        return [seed for seed, end in ends.items() if end is None or not end.reached(limit)]

    def settings_for(self, seed: int, *, quiet: bool) -> TrainSettings:
        """Return the settings of a single run with this seed, with less terminal output if `quiet`."""
        changed: dict[str, Any] = {"seed": seed, "seeds": None, "run": str(self.folder_of(seed))}
        if quiet:
            changed["callbacks"] = self.settings.callbacks.model_copy(
                update={"progress_bar": False, "model_summary": False}
            )
        return self.settings.model_copy(update=changed)

    def build(
        self,
        settings: TrainSettings,
        signals: SignalHandler,
        own: RunImages | None = None,
        callbacks: Sequence[Any] = (),
    ) -> tuple[ImageDataModule, ImageClassifier]:
        """Build a data module with the shared images, and a task.

        Raises:
            DataError: The run of this seed was started with different images.
        """
        if own and self.data.identity:
            own.refuse_others(self.data.identity)
        data = self.data.with_seed(settings.seed)
        return data, build_task(settings, data, signals, callbacks)

    def train(self, seeds: Sequence[int]) -> list[Exception]:
        """Train with the seeds in order, and return the errors of those that diverged."""
        failures: list[Exception] = []
        for number, seed in enumerate(seeds, 1):
            print(f"seed {seed}, {number} of {len(seeds)}", flush=True)
            self.folder_of(seed).mkdir(exist_ok=True)
            settings = self.settings_for(seed, quiet=number > 1 and not self.settings.callbacks.progress_bar)
            try:
                self.train_one(settings, self.folder_of(seed), self.signals, self.callbacks, self.build)
            except DivergenceError as error:  # other seeds may converge; any other error would recur
                failures.append(_named(error, seed))
        return failures

    def finish(self, seconds: float) -> dict[str, Any]:
        """Write results.json, print the table, and return the results.

        Args:
            seconds: The duration of the command, s.

        Raises:
            DataError: The results of a seed are missing or corrupt.
        """
        each = [self._results(seed) for seed in self.seeds]
        names = [name for name in each[0]["metrics"] if all(name in one["metrics"] for one in each)]
        values = {name: [one["metrics"][name] for one in each] for name in names}
        results = {
            "task": "seeds",
            "model": self.settings.model.name,
            "data": self.data.source.name,
            "data_digest": self.data.identity.digest if self.data.identity else None,
            "seeds": self.seeds,
            "metrics": {name: round(statistics.fmean(some), 6) for name, some in values.items()},
            "std": {name: _sd(some) for name, some in values.items()},
            "at_chance": [seed for seed, one in zip(self.seeds, each, strict=True) if one["at_chance"]],
            "total_seconds": round(seconds, 2),
            **describe_environment(torch.device("cuda" if device_kind(self.settings.trainer) == "gpu" else "cpu")),
        }
        write_text(self.folder / RESULTS, as_json(results, allow_nan=False))
        title = f"{self.settings.model.name} on {label(self.data.source.name)}, {len(self.seeds)} seeds"
        print_seeds(title, dict(zip(self.seeds, each, strict=True)), display_path(self.folder))
        return results

    def _results(self, seed: int) -> dict[str, Any]:
        path = self.folder_of(seed) / RESULTS
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = {key: content[key] for key in ("metrics", "epochs", "best_epoch", "training_seconds")}
            return found | {
                key: content.get(key) for key in ("at_chance", "notes")
            }  # missing in results of earlier versions
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a training's results ({type(error).__name__})") from None


def _sd(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), 6) if len(values) > 1 and all(map(math.isfinite, values)) else None


def _named(error: BaseException, seed: int) -> Exception:
    assert isinstance(error, Exception)
    error.add_note(f"seed {seed}")
    return error
