"""Optimizers, built from their settings."""

from collections.abc import Iterable
from typing import Any

from torch import optim

from lenet_pl.optim.sdlm import SDLM
from lenet_pl.settings import (
    AdamSettings,
    RmspropSettings,
    SdlmSettings,
    Settings,
    SgdSettings,
)


def build_optimizer(settings: Settings, parameters: Iterable[Any], *, fused: bool = True) -> optim.Optimizer:
    """Build an optimizer from its settings.

    Args:
        settings: `AdamSettings` (for Adam and AdamW), `SgdSettings`, `RmspropSettings` or `SdlmSettings`.
        parameters: The parameters to optimize, or groups of them as dictionaries.
        fused: Whether to use torch's fused kernels, on CPU and GPU. RMSprop and SDLM have none.

    Returns:
        The optimizer, with `settings.lr` as its learning rate.
    """
    if isinstance(settings, AdamSettings):
        kind = optim.Adam if settings.name == "adam" else optim.AdamW
        first, second = settings.betas
        return kind(parameters, settings.lr, (first, second), settings.eps, settings.weight_decay, fused=fused)
    if isinstance(settings, SgdSettings):
        return optim.SGD(
            parameters,
            settings.lr,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
            fused=fused,
        )
    if isinstance(settings, SdlmSettings):
        return SDLM(parameters, settings.lr, settings.mu)
    assert isinstance(settings, RmspropSettings)
    return optim.RMSprop(
        parameters, settings.lr, settings.alpha, weight_decay=settings.weight_decay, momentum=settings.momentum
    )
