"""The pieces of a training step on the CPU, timed by a callback: data, layers, optimizer, metrics and hooks."""

import contextlib
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from lenet_pl.benchmark.step_clock import StepClock
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.engine import chunked
from lenet_pl.engine.checkpoint import AtomicCheckpointIO
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.optim.fused_adam import FusedAdam

FORWARD, BACKWARD = " forward", " backward"
LOSS, NETWORK, OUTERMOST = "loss", "network, the rest", "Lightning and callbacks"
LAYERS: tuple[tuple[tuple[type[nn.Module], ...], str], ...] = (
    ((nn.MaxPool2d, nn.AvgPool2d), "pooling"),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm2d), "normalization layers"),
    ((nn.Linear,), "linear layers"),
    ((nn.Dropout,), "dropout"),
    ((nn.Flatten,), "flatten"),
)
OTHER_LAYERS = "activations"


class StepProbe(Callback):
    """Callback that times the pieces of the last epoch of a training on the fast path.

    The backward pass of a layer begins when the gradient of its output is computed, and ends when that of another layer
    begins. Validation does not count.

    Attributes:
        clock: The clock, with the times of the last epoch after the training.
        steps: The number of steps of the last epoch.
    """

    def __init__(self) -> None:
        self.clock, self.steps = StepClock(OUTERMOST), 0
        self._installed = contextlib.ExitStack()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        self.steps = int(trainer.num_training_batches)
        data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        task, augment = pl_module, data.augment
        timed: list[tuple[Any, str, str]] = [
            (ImageDataset, "__getitem__", "gather"),
            (data.preprocess, "resize", "resize"),
            (augment, "draw", "augment"),
            (augment, "apply", "augment"),
            (data.preprocess, "normalize", "normalize"),
            (task, "training_step", "loop over the steps"),
            (task, "seed_step", "seed of the step"),
            (task, "logits_and_loss", LOSS + FORWARD),
            (task, "forward", NETWORK + FORWARD),
            (Tensor, "backward", LOSS + BACKWARD),
            (chunked, "check_divergence", "clipping and check of the gradient"),
            (FusedAdam, "zero_grad", "optimizer"),
            (FusedAdam, "step", "optimizer"),
            (task, "keep_outputs", "metrics"),
            (task, "score_training", "metrics"),
            (AtomicCheckpointIO, "save_checkpoint", "checkpoint"),
        ]
        if task.average is not None:
            timed.append((task.average, "update_parameters", "EMA"))
        for owner, attribute, piece in timed:
            if hasattr(owner, attribute):  # transforms of the caller have neither `draw` nor `apply`
                self._installed.enter_context(self.clock.timing(owner, attribute, piece))
        for name, layer in task.model.named_modules():
            if not any(layer.children()):
                self._time_layer(layer, name.rpartition(".")[2])

    def _time_layer(self, layer: nn.Module, name: str) -> None:
        kind = next((piece for kinds, piece in LAYERS if isinstance(layer, kinds)), OTHER_LAYERS)
        piece = name if isinstance(layer, nn.Conv2d) else kind

        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.clock.enter(piece + FORWARD)

        def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.clock.leave()
            if output.requires_grad:
                output.register_hook(lambda _: self.clock.switch(piece + BACKWARD))  # type: ignore[no-untyped-call]
            if layer.training and isinstance(layer, nn.Conv2d | nn.Linear):
                operations = 2 * output.numel() * layer.weight[0].numel()
                self.clock.operations[piece + FORWARD] += operations
                # Of the weights, and of the inputs where they have a gradient
                self.clock.operations[piece + BACKWARD] += operations * (1 + inputs[0].requires_grad)

        self._installed.callback(layer.register_forward_pre_hook(before).remove)
        self._installed.callback(layer.register_forward_hook(after).remove)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.stop()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.clock.start()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self.clock.reset()  # from here on, as the rate of an epoch counts the checkpoint before it
        else:
            self.clock.stop()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._installed.close()
