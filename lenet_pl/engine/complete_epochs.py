"""The check that each epoch has all of its batches."""

import lightning
from lightning.pytorch.callbacks import Callback

from lenet_pl.data.trainer_state import finished_batches
from lenet_pl.errors import DataError


class CompleteEpochs(Callback):
    """Callback that ends a training whose epoch ended before its last batch.

    Lightning takes a StopIteration, whatever raised it, for the end of the data. A loss, an optimizer or a callback
    that calls `next` on an exhausted iterator would thus shorten the training without an error.

    Raises:
        DataError: The epoch is incomplete, and nothing has asked for its end.
    """

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        asked = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
        done, wanted = finished_batches(trainer), trainer.num_training_batches
        if not asked and done < wanted:
            raise DataError(
                f"epoch {trainer.current_epoch + 1}: ended after {done} of {wanted} batches; a loss, an optimizer or a "
                "callback of a plug-in must not raise StopIteration (next() of an exhausted iterator does)"
            )
