"""Curvature estimates for the optimizer, before each epoch."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from lenet_pl.engine.task import ImageClassifier
from lenet_pl.optim.curvature import diagonal_curvature
from lenet_pl.optim.losses import Loss


class EstimateCurvature(Callback):
    """Pass a fresh curvature estimate to the optimizer before each epoch; a resumed epoch keeps its estimate.

    Args:
        samples: The number of training images for the estimate.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageClassifier)
        assert isinstance(pl_module.loss, Loss)  # `TrainSettings` refuses any other
        optimizer: Any = trainer.optimizers[0]
        if pl_module.step_in_epoch == 0:
            images = trainer.train_dataloader.sample(self.samples)  # type: ignore[union-attr]
            found = diagonal_curvature(pl_module.model, images.to(pl_module.dtype), pl_module.loss)
            optimizer.set_curvature(found)
