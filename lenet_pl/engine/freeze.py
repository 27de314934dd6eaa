"""Layers that are not trained, for some epochs or for the whole training."""

from collections.abc import Sequence

import lightning
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lenet_pl.errors import SettingError
from lenet_pl.models.layer_selection import select_parameters


class FreezeLayers(Callback):
    """Exclude layers from training.

    Their parameters have `requires_grad=False`, so that no gradient is computed and every optimizer skips them, weight
    decay included. Their batch normalization stays in evaluation mode: its statistics are used and do not change.

    All parameters are in the optimizer from the start. Whether they are frozen depends on the epoch alone, so that a
    resumed training continues exactly, and learning-rate schedulers treat all layers alike. Lightning's
    `BaseFinetuning` adds a parameter group when it unfreezes layers, which torch's schedulers never step, and makes
    frozen batch normalization use the statistics of each batch.

    Args:
        patterns: Names or patterns of layers, as for `select_parameters`.
        unfreeze_after: The number of epochs after which all layers are trained; None: they stay frozen.

    Example::

        lightning.Trainer(callbacks=[FreezeLayers(["features"], unfreeze_after=3)])
    """

    def __init__(self, patterns: Sequence[str], unfreeze_after: int | None = None) -> None:
        self.patterns, self.unfreeze_after = list(patterns), unfreeze_after

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Freeze before the optimizer is built and before DDP registers the parameters that it synchronizes."""
        if stage != "fit":
            return
        if trainer.world_size > 1 and self.unfreeze_after is not None:
            raise SettingError(
                f"unfreeze_after: got {self.unfreeze_after} with {trainer.world_size} processes, which synchronize the "
                "layers that train from the start; must be null, or trainer.devices=1"
            )
        network = _network(pl_module)
        frozen, total = freeze_parameters(network, self.patterns), sum(p.numel() for p in network.parameters())
        if trainer.is_global_zero:
            until = f", until epoch {self.unfreeze_after + 1}" if self.unfreeze_after else ""
            print(f"frozen: {', '.join(self.patterns)}, {frozen:,} of {total:,} parameters{until}", flush=True)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Apply the state of the epoch; Lightning skips `on_train_epoch_start` of an epoch that is continued."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        network = _network(pl_module)
        if self.unfreeze_after is None or trainer.current_epoch < self.unfreeze_after:
            freeze_parameters(network, self.patterns)
            _set_batch_norms(network, self.patterns, training=False)
        elif not all(parameter.requires_grad for parameter in network.parameters()):
            network.requires_grad_(True)
            _set_batch_norms(network, self.patterns, training=True)


def freeze_parameters(network: nn.Module, patterns: Sequence[str]) -> int:
    """Exclude the parameters of layers from training, and return their number."""
    named = dict(network.named_parameters())
    frozen = [named[name] for name in select_parameters(network, patterns, "freeze")]
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None
    return sum(parameter.numel() for parameter in frozen)


def check_frozen(network: nn.Module, patterns: Sequence[str]) -> None:
    """Raise SettingError if a pattern matches no layer, or if no layer is left to train."""
    if len(select_parameters(network, patterns, "freeze")) == sum(1 for _ in network.parameters()):
        raise SettingError(
            f"freeze: got {', '.join(patterns)}, which leaves no layer to train; must leave at least one"
        )


def _set_batch_norms(network: nn.Module, patterns: Sequence[str], *, training: bool) -> None:
    """Set the mode of the batch normalizations all of whose parameters are selected."""
    names = set(select_parameters(network, patterns, "freeze"))
    for place, module in network.named_modules():
        own = {f"{place}.{name}" for name, _ in module.named_parameters(recurse=False)}
        if isinstance(module, _BatchNorm) and own and own <= names:
            module.train(training)


def _network(module: lightning.LightningModule) -> nn.Module:
    network = getattr(module, "model", module)  # the names are those of the network
    assert isinstance(network, nn.Module)
    return network
