"""Learning-rate schedulers, built from their settings."""

import bisect
import itertools
from typing import Any

from torch import optim
from torch.optim import lr_scheduler

from lenet_pl.errors import SettingError
from lenet_pl.optim.warm_up import WarmUp
from lenet_pl.plugins.build import build, entry_of
from lenet_pl.settings.metric_mode import metric_mode
from lenet_pl.settings.types import PartSettings

PLATEAU_MONITOR = "val/loss"  # what a ReduceLROnPlateau of a plug-in monitors if it does not say so


def build_scheduler(
    settings: PartSettings, optimizer: optim.Optimizer, steps: int, steps_per_epoch: int = 1
) -> dict[str, Any] | None:
    """Build a learning-rate scheduler from its settings.

    Args:
        settings: The settings of a registered scheduler, such as `CosineSettings` or `PlateauSettings`.
        optimizer: The optimizer whose learning rate is scheduled.
        steps: The number of optimizer steps of the whole training, over which schedules of a fixed length, such as
            `CosineSettings`, are spread after the warm-up.
        steps_per_epoch: The number of optimizer steps of an epoch.

    Returns:
        None for a constant learning rate, else Lightning's lr_scheduler dictionary with the keys

        - `scheduler`: the torch scheduler, a `WarmUp` around it with `warmup_epochs`;
        - `interval`: "step" or "epoch", how often `scheduler.step()` is due;
        - `monitor`: the metric that `scheduler.step(metric)` takes, such as "val/loss"; only for reduction on plateaus.

    Raises:
        SettingError: What a plug-in returns is no scheduler.
    """
    warm_up = round(getattr(settings, "warmup_epochs", 0) * steps_per_epoch)
    context = {"steps": max(1, steps - warm_up), "steps_per_epoch": steps_per_epoch}
    built = build("scheduler", settings, optimizer, **context)
    if built is None and not entry_of("scheduler", settings).plugin:
        return _warmed({"scheduler": None}, optimizer, settings, warm_up, 1) if warm_up else None
    schedule = {"interval": "epoch"} | (built if isinstance(built, dict) else {"scheduler": built})
    if not isinstance(schedule.get("scheduler"), lr_scheduler.LRScheduler):
        raise SettingError(
            f"scheduler: {settings.name} returns {type(built).__name__}; must be a scheduler of torch, or Lightning's "
            "dictionary with one"
        )
    if isinstance(schedule["scheduler"], lr_scheduler.ReduceLROnPlateau):
        schedule = {"monitor": PLATEAU_MONITOR} | schedule
    if not warm_up:
        return schedule
    return _warmed(schedule, optimizer, settings, warm_up, 1 if schedule["interval"] == "step" else steps_per_epoch)


def _warmed(
    schedule: dict[str, Any], optimizer: optim.Optimizer, settings: Any, warm_up: int, every: int
) -> dict[str, Any]:
    """Put a warm-up of some steps before a schedule that is stepped after each of `every` steps."""
    every *= schedule.get("frequency", 1)
    kept = {key: value for key, value in schedule.items() if key != "frequency"}
    scheduler = WarmUp(optimizer, schedule["scheduler"], steps=warm_up, factor=settings.warmup_factor, every=every)
    return kept | {"scheduler": scheduler, "interval": "step"}


def plateau(optimizer: optim.Optimizer, *, monitor: str, factor: float, patience: int) -> dict[str, Any]:
    """Build the scheduler of `PlateauSettings`."""
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, metric_mode(monitor), factor, patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}


def piecewise_constant(
    optimizer: optim.Optimizer, *, epochs: list[int], factors: list[float]
) -> lr_scheduler.LRScheduler:
    """Build the scheduler of `PiecewiseConstantSettings`."""
    ends = list(itertools.accumulate(epochs))
    return lr_scheduler.LambdaLR(optimizer, lambda epoch: factors[bisect.bisect_right(ends, epoch)])


def cosine(optimizer: optim.Optimizer, *, steps: int, eta_min: float) -> dict[str, Any]:
    """Build the scheduler of `CosineSettings`."""
    return {"scheduler": lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min), "interval": "step"}


def cosine_restarts(
    optimizer: optim.Optimizer, *, steps_per_epoch: int, period: int, period_factor: int, eta_min: float
) -> dict[str, Any]:
    """Build the scheduler of `CosineRestartsSettings`."""
    first = period * steps_per_epoch
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, first, period_factor, eta_min)
    return {"scheduler": scheduler, "interval": "step"}


def polynomial(optimizer: optim.Optimizer, *, steps: int, power: float) -> dict[str, Any]:
    """Build the scheduler of `PolynomialSettings`."""
    return {"scheduler": lr_scheduler.PolynomialLR(optimizer, steps, power), "interval": "step"}


def linear(optimizer: optim.Optimizer, *, steps: int, end_factor: float) -> dict[str, Any]:
    """Build the scheduler of `LinearSettings`."""
    return {"scheduler": lr_scheduler.LinearLR(optimizer, 1.0, end_factor, steps), "interval": "step"}


def onecycle(
    optimizer: optim.Optimizer,
    *,
    steps: int,
    pct_start: float,
    start_factor: float,
    final_factor: float,
    cycle_momentum: bool,
) -> dict[str, Any]:
    """Build the scheduler of `OneCycleSettings`."""
    # torch divides by zero if the warmup is exactly one step
    warmup = pct_start + 1e-6 * (abs(pct_start * steps - 1) < 1e-6)
    scheduler = lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        steps,
        pct_start=warmup,
        cycle_momentum=cycle_momentum,
        div_factor=1 / start_factor,
        final_div_factor=start_factor / final_factor,
    )
    return {"scheduler": scheduler, "interval": "step"}


def constant(optimizer: optim.Optimizer) -> None:
    """Return no scheduler, for a constant learning rate."""
