"""The run to be examined: settings, data, initial weights, metrics and the network of its last epoch."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import nn

from lenet_pl.data.data_record import read_data_record
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.run_images import RunImages, record_in_checkpoint
from lenet_pl.diagnose.changes import HERE, ON_CPU, Change, with_change
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.engine.initial_weights import InitialWeights
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import DataError, SettingError
from lenet_pl.inference.find_data import find_data
from lenet_pl.inference.trained_run import load_run
from lenet_pl.plugins.loading import how_to_load, missing_plugins
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.seeding import keyed_generator
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import TrainSettings, validate
from lenet_pl.settings.config_file import completed, read_settings
from lenet_pl.settings.diagnose import DiagnoseSettings
from lenet_pl.train.fine_tune import initial_weights


@dataclass(frozen=True)
class RecordedRun:
    """A run whose training can be repeated.

    Attributes:
        folder: The run folder.
        settings: The settings of the training, changed as in `HERE`.
        data: The images in the splits of the run, preprocessed as in the run.
        initial: The initial weights of `init_from`; None for random ones.
        rows: The rows of metrics.csv, one per epoch, without empty cells.
        network: The network of the last epoch, in evaluation mode; None without a usable checkpoint.
        finished: Whether the run has results.
        notes: What could not be examined, one line each.
    """

    folder: Path
    settings: TrainSettings
    data: ImageDataModule
    initial: InitialWeights | None
    rows: list[dict[str, float]]
    network: nn.Module | None
    finished: bool
    notes: list[str]

    @property
    def planned_steps(self) -> int:
        """The number of optimizer steps of the whole training."""
        given = self.settings.trainer
        epoch = len(self.data.train_dataloader()) // given.accumulate_grad_batches or 1
        steps = epoch * given.max_epochs
        return min(steps, given.max_steps) if given.max_steps > 0 else steps

    @property
    def best_accuracy(self) -> float | None:
        """The best validation accuracy of an epoch; None if there was no validation."""
        return max((row["val/accuracy"] for row in self.rows if "val/accuracy" in row), default=None)

    def changed(self, change: Change) -> tuple[TrainSettings, InitialWeights | None]:
        """Return the settings with a change, and the initial weights that go with them.

        Raises:
            SettingError: The changed settings are invalid.
        """
        settings = with_change(self.settings, change)
        return settings, self.initial if settings.init_from else None

    def build(
        self,
        settings: TrainSettings,
        initial: InitialWeights | None,
        signals: SignalHandler | None = None,
    ) -> tuple[ImageDataModule, ImageClassifier]:
        """Build data and task of a training as `train` does, with the weights of its seed.

        Args:
            settings: The settings, those of the run or changed ones.
            initial: The initial weights; None for random ones.
            signals: The signal handler of the process.
        """
        data = build_datamodule(settings, None, initial, self.data.loaded)
        lightning.seed_everything(settings.seed, verbose=False)
        return data, build_task(settings, data, signals, (), initial)


def sample(images: ImageDataset, count: int, purpose: str) -> ImageDataset:
    """Draw images without replacement, the same ones each time; all of them if there are no more."""
    if len(images) <= count:
        return images
    order = keyed_generator(purpose)
    return images.subset(torch.randperm(len(images), generator=order)[:count].sort().values)


def open_recorded_run(settings: DiagnoseSettings) -> RecordedRun:
    """Read a run folder, and load its data and initial weights. Nothing in the folder is executed.

    Raises:
        SettingError: No run is given, or a setting of the run does not fit here.
        DataError: The folder is not a run, the data cannot be loaded or have changed, or the source of the initial
            weights is missing.
    """
    if settings.run is None:
        raise SettingError("run: got null; must be the run folder of a training, as in run=runs/first")
    folder = Path(settings.run)
    given = _read_settings(folder)
    if not given.train:
        raise DataError(f"run: {folder} was not trained; must be a run with training")
    notes = ["the teacher is left out of the repeated trainings"] if given.teacher else []
    if given.extra_callbacks:
        notes.append(f"extra_callbacks are left out of the repeated trainings: {', '.join(given.extra_callbacks)}")
    threads = {"trainer.num_threads": settings.num_threads} if settings.num_threads else {}
    quiet = {f"logger.{name}": False for name in ("tensorboard", "csv")} | {"logger.mlflow": None, "logger.wandb": None}
    precision = given.trainer.precision if given.trainer.precision in ON_CPU else "32-true"
    here = with_change(given, HERE | quiet | threads | {"trainer.precision": precision})
    here = here.model_copy(update={"data": find_data(here.data, folder)})
    content = _checkpoint(folder, settings.ckpt_path, notes)
    record = record_in_checkpoint(content) if content else read_data_record(folder)
    accept = settings.data.accept_changes
    own = RunImages(record, folder, ("train", "validation"), accept) if record else None
    initial = initial_weights(here)
    return RecordedRun(
        folder,
        here,
        build_datamodule(here, own, initial),
        initial,
        _read_rows(folder / "metrics.csv"),
        _network(folder, settings.ckpt_path, notes) if content else None,
        (folder / "results.json").is_file(),
        notes,
    )


def _read_settings(folder: Path) -> TrainSettings:
    values: dict[str, Any] = {}
    if not folder.is_dir():
        raise DataError(f"run: {folder} is not a folder; must be the run folder of a training")
    if not (folder / "config.yaml").is_file():
        inside = sorted(path.parent for path in folder.glob("*/config.yaml"))
        why = f"use one of its runs, such as run={inside[0]}" if inside else "must be the run folder of a training"
        raise DataError(f"run: {folder} has no config.yaml; {why}")
    own = {key: value for key, value in HERE.items() if "." not in key}
    try:
        values = completed(read_settings(folder))
        plain = {key: value for key, value in own.items() if key in ("run", "resume", "n_jobs", "traceback", "plugins")}
        found = validate(TrainSettings, values | plain)
    except (DataError, SettingError) as error:
        if plugins := missing_plugins(values.get("plugins")):
            raise DataError(f"run: {folder}: {how_to_load(plugins)}") from None
        raise DataError(f"run: {folder}: {error}; must be a run of lenet_pl.train") from None
    if found.seeds or found.folds:
        inside = sorted(path.parent for path in folder.glob("*/config.yaml"))
        raise DataError(
            f"run: {folder} contains several trainings; must be one of them, such as run={inside[0] if inside else '?'}"
        )
    return found


def _checkpoint(folder: Path, given: str | None, notes: list[str]) -> dict[str, Any] | None:
    path = _checkpoint_path(folder, given)
    if not path.is_file():
        if given:
            raise DataError(f"ckpt_path: {path} does not exist; must be a checkpoint of the run")
        notes.append("the run has no checkpoint, so the layers are those of the repeated training")
        return None
    return load_checkpoint(path)


def _network(folder: Path, given: str | None, notes: list[str]) -> nn.Module | None:
    try:
        return load_run(_checkpoint_path(folder, given)).model
    except DataError as error:  # weights that are not finite are a finding, not an obstacle
        notes.append(str(error))
        return None


def _checkpoint_path(folder: Path, given: str | None) -> Path:
    if given:
        return Path(given)
    last, best = (folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    return last if last.is_file() else best


def _read_rows(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return [{key: float(value) for key, value in row.items() if key and value} for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, csv.Error):
        raise DataError(f"{path}: cannot be read as the metrics of a run") from None
