"""The callback that reports each epoch of a trial to its study, and prunes the trial."""

from __future__ import annotations

from functools import partial

import lightning
import optuna
from lightning.pytorch.callbacks import Callback
from optuna.exceptions import TrialPruned

from lenet_pl.search.storage import StudyStorage


class EpochReporter(Callback):
    """Report the metric after each epoch, and stop the training if the pruner asks for it.

    Epochs are counted from 1, which pruners with a budget call a resource. The last epoch never prunes, since stopping
    there would save nothing.

    Args:
        trial: The trial that is running.
        metric: The name of a validation metric.
        storage: The database that holds the study.
    """

    def __init__(self, trial: optuna.Trial, metric: str, storage: StudyStorage) -> None:
        self.trial, self.metric, self.storage = trial, metric, storage

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        value, epoch = float(trainer.callback_metrics[self.metric]), trainer.current_epoch + 1
        self.storage.with_retries(partial(self.trial.report, value, epoch))

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # Not at the end of the previous epoch, whose metrics and checkpoint must be written first
        if trainer.current_epoch and self.storage.with_retries(self.trial.should_prune):
            raise TrialPruned(f"after epoch {trainer.current_epoch}")
