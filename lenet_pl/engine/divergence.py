"""The check that a training has not diverged, before each optimizer step."""

from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from lenet_pl.data.trainer_state import finished_batches
from lenet_pl.errors import DIVERGED, DivergenceError
from lenet_pl.optim.clipping import ClipAlgorithm, clip_and_check_gradients


class DivergenceCheck(Callback):
    """Callback that ends a training before the optimizer step if the gradient, or the loss, is not finite.

    It works with every LightningModule. The loss is checked if the module has it as `last_loss`, as `ImageClassifier`
    does.

    Raises:
        DivergenceError: The loss or the gradient is not finite.
    """

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Any
    ) -> None:
        check_divergence(pl_module)


def check_divergence(
    module: lightning.LightningModule,
    limit: float | None = None,
    algorithm: ClipAlgorithm = "norm",
    parameters: Sequence[nn.Parameter] | None = None,
) -> None:
    """Clip the gradient of a module if there is a limit, and raise DivergenceError if it or the loss is not finite.

    Args:
        module: The module, with the loss as `last_loss` if that is checked.
        limit: The largest norm or absolute value of the gradient; None for no gradient clipping.
        algorithm: Whether the limit applies to the norm or to each value.
        parameters: Those of the module, whose search takes as long as the check; None to search them.
    """
    scaled = module.trainer.precision == "16-mixed"
    loss = getattr(module, "last_loss", None)
    loss = torch.zeros((), device=module.device) if loss is None else loss
    if odd := clip_and_check_gradients(
        parameters or module.parameters(), loss, limit, algorithm, allow_overflow=scaled
    ):
        raise diverged(module, odd)


def diverged(module: lightning.LightningModule, odd: str) -> DivergenceError:
    """Return the error of the current step; `odd` is the name and the value of what is not finite."""
    step = finished_batches(module.trainer)
    return DivergenceError(f"{odd} in step {step} of epoch {module.current_epoch + 1}, {DIVERGED}")
