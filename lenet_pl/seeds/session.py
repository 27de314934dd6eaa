"""Train once with each of several seeds, in one process; an ordinary run folder for each, and a table of all."""

import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from lenet_pl.atomic import sweep_parts, write_text
from lenet_pl.build import as_begun, build_datamodule, build_task
from lenet_pl.callbacks import Callbacks, for_each
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.identity import write_identity
from lenet_pl.data.own_images import OwnImages, images_of_run
from lenet_pl.environment import describe_environment
from lenet_pl.errors import DataError, DivergenceError, SettingError, from_here
from lenet_pl.interruption import Interruptible
from lenet_pl.result_table import print_seeds, spread
from lenet_pl.results_file import RESULTS, make_way, read_end
from lenet_pl.seeds.choice import Choice, choose
from lenet_pl.seeds.lockstep import OneOfMany, Relayed, Training, train_together
from lenet_pl.settings import TrainSettings
from lenet_pl.task import ImageClassifier
from lenet_pl.text import as_json, label
from lenet_pl.threads import choose_threads
from lenet_pl.trainer import check_device, device_kind

Train = Callable[..., dict[str, Any]]


def train_seeds(
    settings: TrainSettings,
    folder: Path,
    interruptible: Interruptible,
    train_one: Train,
    callbacks: Callbacks = (),
) -> dict[str, Any]:
    """Train with each of `settings.seeds`, at once or one after another; those that are finished are kept.

    One that was finished after fewer epochs than are asked for now goes on, unless early stopping had ended it.

    Args:
        settings: of all of them.
        folder: receives config.yaml, a run folder `seed_<seed>` for each, and results.json.
        interruptible: listens for signals.
        train_one: trains with one seed, as `lenet_pl.train.train_one`.
        callbacks: Lightning's, which are copied for each training, or a function that makes them from its settings.

    Returns:
        What results.json holds.

    Raises:
        UserError: settings, files or devices that cannot be used; or a training failed, after all others were done.
        Interruption: a signal came; the command can be continued.
    """
    start = time.perf_counter()
    if settings.trainer.devices > 1:
        raise SettingError(
            f"trainer.devices: got {settings.trainer.devices} with seeds; accepted is 1, or seed= in place of seeds="
        )
    check_device(settings.trainer)
    begun = images_of_run(settings, *(folder / f"seed_{seed}" for seed in settings.seeds or ()))
    data = build_datamodule(settings, begun)
    session = Seeds(settings, folder, interruptible, train_one, data, callbacks)
    # What is wrong with the network is said before anything is measured or written
    network, example = build_task(settings, data).model, data.example()
    torch.set_num_threads(settings.trainer.threads or choose_threads(network, example, settings.loader.batch_size))
    missing = session.missing()
    choice = choose(settings, session.data, len(missing)) if missing else Choice(False, "all are finished")
    sweep_parts(folder)
    make_way(folder)  # before anything says that there is more to come
    text = yaml.safe_dump(as_begun(settings), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)
    write_identity(folder, data.identity)
    kept = f"; {len(session.seeds) - len(missing)} are finished" if len(missing) < len(session.seeds) else ""
    print(f"{len(session.seeds)} seeds: {choice.why}{kept}", flush=True)
    train = session.at_once if choice.together else session.one_after_another
    failures = train(missing)
    if failures:
        raise failures[0]
    return session.finish(choice, time.perf_counter() - start)


class Seeds:
    """The trainings of a command.

    Args:
        settings: of all of them.
        folder: that theirs are in.
        interruptible: listens for signals.
        train_one: trains with one seed.
        data: data module, whose images all share.
        callbacks: Lightning's, which are copied for each training, or a function that makes them from its settings.
    """

    def __init__(
        self,
        settings: TrainSettings,
        folder: Path,
        interruptible: Interruptible,
        train_one: Train,
        data: ImageDataModule,
        callbacks: Callbacks = (),
    ) -> None:
        assert settings.seeds is not None
        self.settings, self.folder, self.seeds, self.data = settings, folder, settings.seeds, data
        self.interruptible, self.train_one, self.callbacks = interruptible, train_one, for_each(callbacks)
        self._told = 0  # epochs of which a line was printed

    def place(self, seed: int) -> Path:
        """The run folder of a seed."""
        return self.folder / f"seed_{seed}"

    def missing(self) -> list[int]:
        """List the seeds without results, or with those of a shorter training."""
        limit = self.settings.trainer.max_epochs if self.settings.train else 0
        ends = {seed: read_end(self.place(seed)) for seed in self.seeds}
        return [seed for seed, end in ends.items() if end is None or not end.reached(limit)]

    def own(self, seed: int, *, quiet: bool) -> TrainSettings:
        """Settings of one training; they are those of a run with that seed."""
        changed: dict[str, Any] = {"seed": seed, "seeds": None, "run": str(self.place(seed))}
        if quiet:
            changed["callbacks"] = self.settings.callbacks.model_copy(
                update={"progress_bar": False, "model_summary": False}
            )
        return self.settings.model_copy(update=changed)

    def parts(
        self,
        settings: TrainSettings,
        interruptible: Interruptible,
        own: OwnImages | None = None,
        kind: type[ImageClassifier] = ImageClassifier,
    ) -> tuple[ImageDataModule, ImageClassifier]:
        """Build a task, and a data module that shares the images.

        Raises:
            DataError: the run of this seed was begun with other images.
        """
        if own and self.data.identity:
            own.refuse_others(self.data.identity)
        data = self.data.with_seed(settings.seed)
        return data, build_task(settings, data, interruptible, kind)

    def one_after_another(self, seeds: Sequence[int]) -> list[Exception]:
        """Train; returns what failed."""
        failures: list[Exception] = []
        for number, seed in enumerate(seeds, 1):
            print(f"seed {seed}, {number} of {len(seeds)}", flush=True)
            self.place(seed).mkdir(exist_ok=True)
            settings = self.own(seed, quiet=number > 1 and not self.settings.callbacks.progress_bar)
            try:
                self.train_one(settings, self.place(seed), self.interruptible, self.callbacks, self.parts)
            except DivergenceError as error:  # another seed may fare better; what else goes wrong would go on to
                failures.append(_named(error, seed))
        return failures

    def at_once(self, seeds: Sequence[int]) -> list[Exception]:
        """Train; returns what failed."""
        trainings = [Training(seed, self._work) for seed in seeds]
        train_together(trainings, self.interruptible, self._watch)
        return [_named(training.error, training.seed) for training in trainings if training.error]

    def _work(self, training: Training) -> dict[str, Any]:
        def parts(
            settings: TrainSettings, interruptible: Interruptible, own: OwnImages | None
        ) -> tuple[ImageDataModule, ImageClassifier]:
            data, task = self.parts(settings, interruptible, own, OneOfMany)
            assert isinstance(task, OneOfMany)
            task.thread = training
            return data, task

        place = self.place(training.seed)
        place.mkdir(exist_ok=True)
        settings = self.own(training.seed, quiet=True)
        return self.train_one(settings, place, Relayed(self.interruptible), self.callbacks, parts)

    def _watch(self, tasks: Sequence[OneOfMany]) -> None:
        """Print a line when an epoch of all has ended."""
        epoch = min(task.current_epoch for task in tasks)
        if epoch > self._told and self.settings.callbacks.progress_bar:
            values = [float(task.trainer.callback_metrics["val/accuracy"]) for task in tasks]
            of = f"epoch {epoch} of at most {self.settings.trainer.max_epochs}"
            print(f"{of}: validation accuracy {spread(values)} of {len(tasks)} seeds", flush=True)
            self._told = epoch

    def finish(self, choice: Choice, seconds: float) -> dict[str, Any]:
        """Write results.json and print the table; return the results.

        Raises:
            DataError: results of a seed cannot be read.
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
            "at_once": choice.together,
            "why": choice.why,
            "speed_ratio": choice.ratio and round(choice.ratio, 3),
            "metrics": {name: round(statistics.fmean(some), 6) for name, some in values.items()},
            "sd": {name: _sd(some) for name, some in values.items()},
            "at_chance": [seed for seed, one in zip(self.seeds, each, strict=True) if one["at_chance"]],
            "total_seconds": round(seconds, 2),
            **describe_environment(torch.device("cuda" if device_kind(self.settings.trainer) == "gpu" else "cpu")),
        }
        write_text(self.folder / RESULTS, as_json(results, allow_nan=False))
        title = f"{self.settings.model.name} on {label(self.data.source.name)}, {len(self.seeds)} seeds"
        print_seeds(title, dict(zip(self.seeds, each, strict=True)), from_here(self.folder))
        return results

    def _results(self, seed: int) -> dict[str, Any]:
        path = self.place(seed) / RESULTS
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = {key: content[key] for key in ("metrics", "epochs", "best_epoch", "training_seconds")}
            return found | {key: content.get(key) for key in ("at_chance", "notes")}  # which earlier versions lack
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a training's results ({type(error).__name__})") from None


def _sd(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), 6) if len(values) > 1 and all(map(math.isfinite, values)) else None


def _named(error: BaseException, seed: int) -> Exception:
    assert isinstance(error, Exception)
    error.add_note(f"seed {seed}")
    return error
