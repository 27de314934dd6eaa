"""Building of the learning-rate scheduler for the length of a training, and its steps at the end of an epoch."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau


def build_schedule(build: Callable[..., Any], optimizer: Optimizer, trainer: lightning.Trainer) -> Any:
    """Call a function that builds a scheduler with the optimizer and the number of optimizer steps of the training.

    A function with a parameter `steps_per_epoch` gets the number of optimizer steps of an epoch, too.
    """
    steps = int(trainer.estimated_stepping_batches)
    if "steps_per_epoch" not in inspect.signature(build).parameters:
        return build(optimizer, steps)
    per_epoch = -(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches)
    return build(optimizer, steps, steps_per_epoch=max(1, per_epoch))


def step_plateau(schedule: Mapping[str, Any], trainer: lightning.Trainer, *, validated: bool) -> None:
    """Step a scheduler that depends on a metric of the epoch, at the end of the epoch and after a warm-up.

    Args:
        schedule: Lightning's lr_scheduler dictionary; empty for a constant learning rate.
        trainer: The trainer, with the metrics of the epoch.
        validated: Whether there was a validation in the epoch.
    """
    scheduler = schedule.get("scheduler")
    by_epoch = schedule.get("interval", "epoch") == "epoch"
    around = hasattr(scheduler, "plateau")  # `WarmUp` and `SWASchedule`
    plateau = scheduler.plateau if around else scheduler if by_epoch else None  # type: ignore[union-attr]
    present = [config.scheduler for config in trainer.lr_scheduler_configs]
    if not isinstance(plateau, ReduceLROnPlateau) or scheduler not in present:
        return
    monitor = schedule["monitor"]
    # Lightning keeps the values of the last validation, which may be that of an earlier epoch
    if monitor.startswith("val/") and not validated and trainer.enable_validation:
        return
    if (metric := trainer.callback_metrics.get(monitor)) is None:
        known = ", ".join(trainer.callback_metrics)
        raise MisconfigurationException(f"ReduceLROnPlateau: no metric {monitor}; must be one of {known}")
    plateau.step(metric)
