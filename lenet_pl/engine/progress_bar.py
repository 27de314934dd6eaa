"""Progress bar of the training."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar

from lenet_pl.engine.task import ImageClassifier

REFRESH_RATE = 4  # per second; each refresh costs a few milliseconds


class ProgressBar(RichProgressBar):
    """Progress bar in optimizer steps, with the metrics of the previous epoch and without the logger version."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=REFRESH_RATE)

    @property
    def total_train_batches(self) -> int:
        """The number of optimizer steps per epoch."""
        return int(self.trainer.train_dataloader.steps)  # type: ignore[union-attr]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageClassifier)
        self._update(self.train_progress_bar_id, pl_module.step_in_epoch)

    def _get_train_description(self, current_epoch: int) -> str:
        """Return the label of the bar, with epochs counted from 1."""
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs} "

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
