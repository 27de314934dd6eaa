"""Metrics of every epoch, in memory and in metrics.csv."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from lenet_pl.engine.task import ImageClassifier
from lenet_pl.runtime.atomic_files import write_text

COLUMNS = ("epoch", "step", "lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds", "images/s")
SCORES = COLUMNS[3:7]


class MetricsHistory(Callback):
    """Metrics of every epoch, in memory and in metrics.csv.

    On the fast path, where Lightning logs nothing in a step, it also passes the loss of each step to the loggers.

    Later callbacks find the training metrics of the epoch in `trainer.callback_metrics`. A row of `epochs`:

    | key                            | value                                                               |
    |--------------------------------|---------------------------------------------------------------------|
    | epoch                          | index of the epoch, from 0                                          |
    | step                           | optimizer steps since the start of the training                     |
    | lr                             | learning rate of the first step of the epoch                        |
    | train/loss, val/loss           | mean over the images; val/loss is cross entropy, in nats            |
    | train/accuracy, val/accuracy   | fraction of correct predictions, in [0, 1]                          |
    | seconds                        | wall time, s, with the preceding checkpoint, without validation     |
    | images/s                       | training images of all ranks per second                             |
    | val/<name>                     | further metrics of the task                                         |

    Args:
        folder: The run folder, for metrics.csv.
        log_every_n_steps: The number of optimizer steps from one logged loss to the next.

    Attributes:
        epochs: One row per finished epoch.
        step_losses: Training loss of every optimizer step of the finished epochs.
        first_step: Unix time, s, at which this process started its first training step; None before.
        resumed_at: Number of finished optimizer steps at each resume.
    """

    state_key = "EpochRecorder"  # earlier name of the class, kept for existing checkpoints

    def __init__(self, folder: Path, log_every_n_steps: int) -> None:
        self.path = folder / "metrics.csv"
        self.log_every_n_steps = log_every_n_steps
        self.epochs: list[dict[str, float]] = []
        self.step_losses: list[float] = []
        self.first_step: float | None = None
        self.resumed_at: list[int] = []
        self._mark = self._validation = self._earlier = 0.0
        self._validated = False  # in this epoch

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._mark = time.perf_counter() - self._earlier
        if trainer.global_step or self.epochs:
            self.resumed_at.append(trainer.global_step)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.first_step = self.first_step or time.time()

    def leave_out(self, seconds: float) -> None:
        """Leave a time in which the training waited, s, out of the time of the epoch."""
        self._mark += seconds

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validation -= time.perf_counter()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validation += time.perf_counter()
        self._validated = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        pl_module.score_training()
        # Measured from the end of the previous epoch, to include writing its checkpoint
        now = time.perf_counter()
        seconds = now - self._mark - self._validation
        self._mark, self._validation = now, 0.0
        losses: list[float] = torch.stack(pl_module.step_losses).tolist()  # one synchronization with the device
        wanted = {*SCORES, *map(str, pl_module.val_metrics)}
        if not self._validated:  # `callback_metrics` keeps the values of the last validation
            wanted = {name for name in wanted if not name.startswith("val/")}
        logged = trainer.callback_metrics.items()
        scores = {name: round(float(value), 6) for name, value in logged if name in wanted}
        speed = pl_module.images_trained * trainer.world_size / seconds
        lr = pl_module.step_lrs[0]
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": lr, **scores}
        self.epochs.append(row | {"seconds": round(seconds, 3), "images/s": round(speed, 1)})
        if not pl_module.automatic_optimization:
            self._log_steps(trainer, losses, pl_module.step_lrs)
        for logger in trainer.loggers:
            logger.log_metrics({"images_per_second": speed}, trainer.global_step)
        self.step_losses += losses
        self._validated = False
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._write()

    def add(self, trainer: lightning.Trainer, values: dict[str, float], seconds: float) -> None:
        """Add values to the row of the epoch that has ended, and leave the time they took out of the next one."""
        self.epochs[-1] |= values
        self._mark += seconds
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._write()

    def _log_steps(self, trainer: lightning.Trainer, losses: list[float], lrs: list[float]) -> None:
        """Log the steps that Lightning logs with automatic optimization."""
        first = trainer.global_step - len(losses)
        for offset, (loss, lr) in enumerate(zip(losses, lrs, strict=True)):
            if (first + offset + 1) % self.log_every_n_steps == 0:
                for logger in trainer.loggers:
                    logger.log_metrics({"train/loss_step": loss, "lr": lr}, first + offset)

    def _write(self) -> None:
        text = io.StringIO()
        extra = dict.fromkeys(name for row in self.epochs for name in row if name not in COLUMNS)
        writer = csv.DictWriter(text, [*COLUMNS, *extra])
        writer.writeheader()
        writer.writerows(self.epochs)
        write_text(self.path, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        # Of the unfinished epoch; LearningRateFinder saves and loads the state before the training
        seconds = time.perf_counter() - self._mark - self._validation if self._mark else self._earlier
        own = {"epochs": self.epochs, "step_losses": self.step_losses, "resumed_at": self.resumed_at}
        return own | {"seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.step_losses = state_dict["epochs"], state_dict["step_losses"]
        self.resumed_at, self._earlier = state_dict["resumed_at"], state_dict["seconds"]
