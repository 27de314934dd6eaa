"""Switching of a schedule-free optimizer between the weights that are trained and those that are evaluated."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


class ScheduleFreeModes(Callback):
    """Evaluate and save the averaged weights of a schedule-free optimizer, and train with its others.

    Such an optimizer replaces the weights in place by `train()` and `eval()`. It is in evaluation mode from each
    validation, or the end of the epoch, to the next training step, so that the checkpoints of an epoch hold the
    averaged weights. The checkpoint of an interruption within an epoch holds those that are trained.

    Source: Defazio et al. 2024, "The road less scheduled", equations 3 to 5.
    """

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        _switch(trainer, "train")

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        _switch(trainer, "eval")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        _switch(trainer, "eval")


def _switch(trainer: lightning.Trainer, mode: str) -> None:
    """Call `train` or `eval` of the optimizers, which do nothing in the same mode."""
    for optimizer in trainer.optimizers:
        getattr(optimizer, mode)()
