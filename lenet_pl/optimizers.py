"""Optimizers and learning-rate schedulers by name."""

import bisect
import itertools
from collections.abc import Iterable
from typing import Any

from torch import nn, optim
from torch.optim import lr_scheduler

from lenet_pl.metric_mode import metric_mode
from lenet_pl.sdlm import Sdlm
from lenet_pl.settings import (
    AdamSettings,
    CosineSettings,
    ExponentialSettings,
    OneCycleSettings,
    PassesSettings,
    PlateauSettings,
    RmspropSettings,
    SdlmSettings,
    Settings,
    SgdSettings,
    StepSettings,
)


def build_optimizer(settings: Settings, parameters: Iterable[nn.Parameter], *, fused: bool = True) -> optim.Optimizer:
    """Build the optimizer that the settings name.

    Args:
        settings: of one of the kinds in `conf/optimizer/`.
        parameters: what is learned.
        fused: one kernel for all parameters, on the CPU too, where torch has one.
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
        return Sdlm(parameters, settings.lr, settings.mu)
    assert isinstance(settings, RmspropSettings)
    return optim.RMSprop(
        parameters, settings.lr, settings.alpha, weight_decay=settings.weight_decay, momentum=settings.momentum
    )


def build_scheduler(settings: Settings, optimizer: optim.Optimizer, steps: int) -> dict[str, Any] | None:
    """Build the scheduler that the settings name; None for a constant lr.

    Args:
        settings: of one of the kinds that `conf/scheduler/` has.
        optimizer: whose lr is changed.
        steps: of the whole training, for schedules that are made for one length.
    """
    scheduler: Any
    if isinstance(settings, PlateauSettings):
        mode = metric_mode(settings.monitor)
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode, settings.factor, settings.patience)
        return {"scheduler": scheduler, "interval": "epoch", "monitor": settings.monitor}
    if isinstance(settings, StepSettings):
        return {"scheduler": lr_scheduler.StepLR(optimizer, settings.step_size, settings.gamma), "interval": "epoch"}
    if isinstance(settings, ExponentialSettings):
        return {"scheduler": lr_scheduler.ExponentialLR(optimizer, settings.gamma), "interval": "epoch"}
    if isinstance(settings, PassesSettings):
        ends, factors = list(itertools.accumulate(settings.epochs)), settings.factors

        def factor(epoch: int) -> float:
            return factors[bisect.bisect_right(ends, epoch)]

        return {"scheduler": lr_scheduler.LambdaLR(optimizer, factor), "interval": "epoch"}
    if isinstance(settings, CosineSettings):
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, steps, settings.final_lr)
        return {"scheduler": scheduler, "interval": "step"}
    if isinstance(settings, OneCycleSettings):
        # torch divides by zero where the way up is exactly one step
        warmup = settings.warmup + 1e-6 * (abs(settings.warmup * steps - 1) < 1e-6)
        scheduler = lr_scheduler.OneCycleLR(
            optimizer,
            optimizer.param_groups[0]["lr"],
            steps,
            pct_start=warmup,
            cycle_momentum=settings.cycle_momentum,
            div_factor=1 / settings.start_factor,
            final_div_factor=settings.start_factor / settings.final_factor,
        )
        return {"scheduler": scheduler, "interval": "step"}
    return None
