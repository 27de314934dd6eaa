"""Early stopping that survives a resumed run."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that still applies when a stopped run is resumed.

    Attributes:
        waiting: Whether metrics are ignored, since they are not those of the weights that will be kept.
    """

    waiting = False

    @property
    def state_key(self) -> str:  # earlier name of the class, kept for existing checkpoints
        return super().state_key.replace(type(self).__qualname__, "ResumableStopping")

    @property
    def stopped(self) -> bool:
        """Whether the patience is exhausted."""
        return self.has_stopped(self.state_dict())

    def has_stopped(self, state: dict[str, Any]) -> bool:
        """Whether the patience was exhausted in a saved state of this callback."""
        return int(state["wait_count"]) >= self.patience

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self.stopped

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not self.waiting:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not self.waiting:
            super().on_validation_end(trainer, pl_module)


class StopAtMaxSteps(Callback):
    """Callback that validates after the last of `max_steps` steps, also within an epoch, where Lightning would not."""

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
