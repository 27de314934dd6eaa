"""Optimizers, built from their settings."""

from collections.abc import Iterable
from importlib import import_module
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
    Lion = _of_package("lion", "lion-pytorch", "lion_pytorch", "Lion")  # noqa: N806
    built: optim.Optimizer = Lion(parameters, lr=lr, betas=betas, weight_decay=weight_decay)
    return built


def schedule_free(parameters: Iterable[Any], *, settings: PartSettings) -> optim.Optimizer:
    """Build the optimizer of `ScheduleFreeAdamWSettings` or `ScheduleFreeSgdSettings`, from the package schedulefree.

    It must be switched by its methods `train` and `eval`, as `ScheduleFreeModes` does.

    Raises:
        SettingError: The package is not installed.
    """
    name = {"schedule_free_adamw": "AdamWScheduleFree", "schedule_free_sgd": "SGDScheduleFree"}[settings.name]
    kind = _of_package(settings.name, "schedulefree", "schedulefree", name)
    built: optim.Optimizer = kind(parameters, **settings.model_dump(exclude={"name"}))
    return built


def _of_package(optimizer: str, package: str, module: str, name: str) -> Any:
    """Import the class of an optimizer from a package of the extra `optimizers`."""
    try:
        return getattr(import_module(module), name)
    except ImportError:
        raise SettingError(
            f"optimizer: {optimizer} needs the package {package}; pip install 'lenet_pl[optimizers]'"
        ) from None
