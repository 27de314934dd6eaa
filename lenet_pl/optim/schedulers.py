"""Learning-rate schedulers, built from their settings."""

import bisect
import itertools
from typing import Any

from torch import optim
from torch.optim import lr_scheduler

from lenet_pl.settings import (
    CosineSettings,
    ExponentialSettings,
    OneCycleSettings,
    PiecewiseConstantSettings,
    PlateauSettings,
    Settings,
    StepSettings,
)
from lenet_pl.settings.metric_mode import metric_mode


def build_scheduler(settings: Settings, optimizer: optim.Optimizer, steps: int) -> dict[str, Any] | None:
    """Build a learning-rate scheduler from its settings.

    Args:
        settings: The settings of one group `scheduler`, such as `CosineSettings` or `PlateauSettings`.
        optimizer: The optimizer whose learning rate is scheduled.
        steps: The number of optimizer steps of the whole training, over which `CosineSettings` and `OneCycleSettings`
            spread their schedule.

    Returns:
        None for a constant learning rate, else Lightning's lr_scheduler dictionary with the keys

        - `scheduler`: the torch scheduler;
        - `interval`: "step" or "epoch", how often `scheduler.step()` is due;
        - `monitor`: the metric that `scheduler.step(metric)` takes, such as "val/loss"; only for `PlateauSettings`.

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
    if isinstance(settings, PiecewiseConstantSettings):
        ends, factors = list(itertools.accumulate(settings.epochs)), settings.factors

        def factor(epoch: int) -> float:
            return factors[bisect.bisect_right(ends, epoch)]

        return {"scheduler": lr_scheduler.LambdaLR(optimizer, factor), "interval": "epoch"}
    if isinstance(settings, CosineSettings):
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, steps, settings.eta_min)
        return {"scheduler": scheduler, "interval": "step"}
    if isinstance(settings, OneCycleSettings):
        # torch divides by zero if the warmup is exactly one step
        warmup = settings.pct_start + 1e-6 * (abs(settings.pct_start * steps - 1) < 1e-6)
        scheduler = lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            steps,
            pct_start=warmup,
            cycle_momentum=settings.cycle_momentum,
            div_factor=1 / settings.start_factor,
            final_div_factor=settings.start_factor / settings.final_factor,
        )
        return {"scheduler": scheduler, "interval": "step"}
    return None
