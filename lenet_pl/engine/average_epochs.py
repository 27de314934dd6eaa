"""Stochastic weight averaging (SWA) over the epochs of a training."""

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim.swa_utils import update_bn

from lenet_pl.data.loader import BatchLoader
from lenet_pl.engine.checkpoint_callbacks import BestCheckpoint
from lenet_pl.engine.early_stopping import ResumableEarlyStopping
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.optim.swa import SWAModel
from lenet_pl.runtime.seeding import keep_global, keyed_seed, seed_global


class AverageEpochs(Callback):
    """Average the weights at the end of each epoch from one epoch on, before it is validated.

    Each time, the statistics of batch normalization are computed on the training images without augmentation, so that
    the average in every checkpoint can be used as it is. Until the first average, `average` is a copy of the
    weights, early stopping waits, and the best epoch is that of the weights. Then the best epoch is one of an average.

    Args:
        first_epoch: The first epoch whose weights are averaged, from 0.

    Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", section 3.
    """

    def __init__(self, first_epoch: int) -> None:
        self.first_epoch = first_epoch

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._let_wait(trainer, int(_average(pl_module).n_averaged) == 0)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._update(trainer, pl_module)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._update(trainer, pl_module)  # of an epoch that is not validated at its end

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if int(_average(pl_module).n_averaged) == 0 and trainer.is_global_zero:
            print(f"note: the training ended before epoch {self.first_epoch + 1} did, so no weights were averaged")

    def _update(self, trainer: lightning.Trainer, task: lightning.LightningModule) -> None:
        """Update the average once per epoch, when all its batches are trained."""
        assert isinstance(task, ImageClassifier)
        average, epoch = _average(task), trainer.current_epoch
        count, finished = int(average.n_averaged), task.step_in_epoch == trainer.num_training_batches
        if count == 0 and (epoch < self.first_epoch or not finished):
            average.follow(task.model)
        elif finished and count == epoch - self.first_epoch:
            average.update_parameters(task.model)
            loader: BatchLoader = trainer.train_dataloader  # type: ignore[assignment]
            batches = loader.plain_batches(loader.batch_size)
            with keep_global(task.device):  # networks with dropout draw random numbers
                seed_global(keyed_seed("swa", task.seed, epoch), task.device)
                update_bn((batch.images.to(task.dtype) for batch in batches), average.module)
            if count == 0:
                self._let_wait(trainer, False)
                for callback in trainer.callbacks:  # type: ignore[attr-defined]
                    if isinstance(callback, BestCheckpoint):
                        callback.forget()

    @staticmethod
    def _let_wait(trainer: lightning.Trainer, waiting: bool) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, ResumableEarlyStopping):
                callback.waiting = waiting


def _average(task: lightning.LightningModule) -> SWAModel:
    assert isinstance(task, ImageClassifier)
    assert isinstance(task.average, SWAModel)
    return task.average
