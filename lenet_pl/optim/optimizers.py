"""Optimizers, built from their settings."""

from collections.abc import Iterable
from typing import Any

from torch import optim

from lenet_pl.errors import SettingError
from lenet_pl.plugins.build import build
from lenet_pl.settings.types import PartSettings


def build_optimizer(settings: PartSettings, parameters: Iterable[Any], *, fused: bool = True) -> optim.Optimizer:
    """Build an optimizer from its settings.

    Args:
        settings: The settings of a registered optimizer, such as `AdamSettings`.
        parameters: The parameters to optimize, or groups of them as dictionaries.
        fused: Whether to use torch's fused kernels, on CPU and GPU. Optimizers that have none ignore it.

    Returns:
        The optimizer, with `settings.lr` as its learning rate.

    Raises:
        SettingError: What a plug-in returns is no optimizer.
    """
    optimizer = build("optimizer", settings, parameters, fused=fused)
    if not isinstance(optimizer, optim.Optimizer):
        raise SettingError(
            f"optimizer: {settings.name} returns {type(optimizer).__name__}; must be a torch.optim.Optimizer"
        )
    return optimizer


def lion(
    parameters: Iterable[Any], *, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.99)
) -> optim.Optimizer:
    """Build the optimizer of `LionSettings`, from the package lion-pytorch.

    Raises:
        SettingError: The package is not installed.
    """
    try:
        from lion_pytorch import Lion
    except ImportError:
        raise SettingError(
            "optimizer: lion needs the package lion-pytorch; pip install 'lenet_pl[optimizers]'"
        ) from None
    built: optim.Optimizer = Lion(parameters, lr=lr, betas=betas, weight_decay=weight_decay)
    return built
