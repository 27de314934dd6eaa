"""Progress bar of the training."""

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar

from lenet_pl.engine.task import ImageClassifier

REFRESH_RATE = 4  # per second; each refresh costs a few milliseconds


class ProgressBar(RichProgressBar):
    """Progress bar in training batches, with the metrics of the previous epoch and without the logger version."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=REFRESH_RATE)
        self._due = 0.0  # time of the next update, s

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now < self._due and batch_idx + 1 < trainer.num_training_batches:  # an update takes a third of a millisecond
            return
        self._due = now + 1 / REFRESH_RATE
        if isinstance(pl_module, ImageClassifier):  # on the fast path `batch_idx` starts at 0 again after a resume
            batch_idx = pl_module.step_in_epoch - 1
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _get_train_description(self, current_epoch: int) -> str:
        """Return the label of the bar, with epochs counted from 1."""
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs} "

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
