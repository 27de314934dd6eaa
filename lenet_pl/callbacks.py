"""What watches a training beside Lightning's own callbacks."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint, RichProgressBar

from lenet_pl.task import ImageClassifier

DRAWINGS_PER_SECOND = 4  # of the progress bar; each takes the interpreter for some milliseconds
COLUMNS = ("epoch", "step", "lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds", "images/s")
SCORES = COLUMNS[3:7]


class EpochRecorder(Checkpoint):
    """Keep the figures of every epoch, in memory and in metrics.csv, and give the per-step loss to the loggers.

    It is a Checkpoint because Lightning calls those after the module's own end of the epoch, where training is scored.

    Args:
        folder: receives metrics.csv.
        log_every_n_steps: steps between two points of the per-step loss that loggers get.
    """

    def __init__(self, folder: Path, log_every_n_steps: int) -> None:
        self.path = folder / "metrics.csv"
        self.log_every_n_steps = log_every_n_steps
        self.epochs: list[dict[str, float]] = []
        self.step_losses: list[float] = []  # one per optimizer step
        self.first_step: float | None = None  # s since 1970 at which this process began its first training step
        self._mark = self._validation = self._lr = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.first_step = self.first_step or time.time()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validation -= time.perf_counter()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validation += time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        # From the end of the epoch before, so that its checkpoint counts; validation does not.
        now = time.perf_counter()
        seconds = now - self._mark - self._validation
        self._mark, self._validation = now, 0.0
        losses = [float(loss) for loss in pl_module.step_losses]
        scores = {name: round(float(v), 6) for name, v in trainer.callback_metrics.items() if name in SCORES}
        speed = pl_module.images_trained * trainer.world_size / seconds
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": self._lr, **scores}
        self.epochs.append(row | {"seconds": round(seconds, 3), "images/s": round(speed, 1)})
        for logger in trainer.loggers:
            for offset in range(0, len(losses), self.log_every_n_steps):
                point = {"train/loss_step": losses[offset], "lr": pl_module.step_rates[offset]}
                logger.log_metrics(point, trainer.global_step - len(losses) + offset)
            logger.log_metrics({"images_per_second": speed}, trainer.global_step)
        self.step_losses += losses
        if trainer.is_global_zero:
            self._write()

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.epochs)
        part = self.path.with_suffix(".part")
        part.write_text(text.getvalue())
        part.replace(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "step_losses": self.step_losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.step_losses = state_dict["epochs"], state_dict["step_losses"]


class ProgressBar(RichProgressBar):
    """Live progress in optimizer steps, with the scores of the epoch before, and without the logger's version."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=DRAWINGS_PER_SECOND)

    @property
    def total_train_batches(self) -> int:
        """Count the optimizer steps of an epoch."""
        return int(self.trainer.train_dataloader.steps)  # type: ignore[union-attr]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageClassifier)
        self._update(self.train_progress_bar_id, pl_module.steps_done)

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1, as the tables do."""
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs} "

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
