"""Stochastic weight averaging (SWA): the averaged network, and the learning rate of the averaged epochs.

Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization".
"""

import math
from collections.abc import Callable
from typing import Any

from torch import nn, optim
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from lenet_pl.optim.parameter_groups import LR_SCALE
from lenet_pl.optim.warm_up import WarmUp
from lenet_pl.settings.callbacks import SwaSettings


class SWAModel(AveragedModel):
    """Equal mean of the weights at several times; until the first of them, a copy of the weights.

    Buffers are those of the network. The statistics of batch normalization must be computed for the average, as by
    torch's `update_bn`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.requires_grad_(False)  # DDP must not wait for gradients of the average

    def follow(self, model: nn.Module) -> None:
        """Copy weights and buffers of a network."""
        self.module.load_state_dict(model.state_dict())


class SWASchedule(lr_scheduler.LRScheduler):
    """Follow a schedule, then anneal the learning rate to a constant one.

    From the start on, the learning rate is that of `torch.optim.swa_utils.SWALR`, constructed at the start and stepped
    at the end of each epoch. This scheduler is stepped after each optimizer step.

    Args:
        optimizer: The optimizer.
        before: The scheduler of the same optimizer until the start; None for a constant learning rate. A
            `ReduceLROnPlateau` is not stepped: see `plateau`.
        start: The number of steps until the start.
        every: The number of steps after which `before` is stepped: 1, or the steps of an epoch.
        steps_per_epoch: The number of steps of an epoch.
        lr: The constant learning rate, which is multiplied by the `lr_scale` of each parameter group.
        annealing_epochs: The number of epochs after which it is reached; 0 for the start.
        cosine: Whether the learning rate follows half a cosine, not a line.
    """

    def __init__(
        self,
        optimizer: optim.Optimizer,
        before: lr_scheduler.LRScheduler | None,
        *,
        start: int,
        every: int,
        steps_per_epoch: int,
        lr: float,
        annealing_epochs: int,
        cosine: bool,
    ) -> None:
        self.before, self.start, self.every, self.steps_per_epoch = before, start, every, steps_per_epoch
        self.targets = [lr * group.get(LR_SCALE, 1.0) for group in optimizer.param_groups]
        self.annealing_epochs, self.cosine = annealing_epochs, cosine
        self.first: list[float] = []  # learning rates at the start
        super().__init__(optimizer)

    @property
    def plateau(self) -> lr_scheduler.ReduceLROnPlateau | None:
        """The scheduler that is to be stepped with the metric of the epoch that ends; None from the start on."""
        if self.last_epoch >= self.start:
            return None
        if isinstance(self.before, WarmUp):
            return self.before.plateau
        return self.before if isinstance(self.before, lr_scheduler.ReduceLROnPlateau) else None

    def step(self, epoch: int | None = None) -> None:
        """Update the learning rate after an optimizer step; `epoch` is not used."""
        self._step_count += 1
        self.last_epoch += 1
        done = self.last_epoch - self.start
        waits = self.before is None or isinstance(self.before, lr_scheduler.ReduceLROnPlateau)
        if done <= 0 < self.last_epoch and self.last_epoch % self.every == 0 and not waits:
            self.before.step()  # type: ignore[union-attr]
        groups = self.optimizer.param_groups
        if done == 0:
            self.first = [group["lr"] for group in groups]
        if done >= 0 and done % self.steps_per_epoch == 0:
            share = min(1.0, done / self.steps_per_epoch / self.annealing_epochs) if self.annealing_epochs else 1.0
            share = (1 - math.cos(math.pi * share)) / 2 if self.cosine else share
            for group, first, target in zip(groups, self.first, self.targets, strict=True):
                group["lr"] = target if share == 1 else (1 - share) * first + share * target
        self._last_lr = [group["lr"] for group in groups]

    def state_dict(self) -> dict[str, Any]:
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "_last_lr": self._last_lr,
            "first": self.first,
            "before": self.before.state_dict() if self.before else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = dict(state_dict)
        before = own.pop("before")
        self.__dict__.update(own)
        if self.before:
            self.before.load_state_dict(before)


def build_swa_schedule(
    settings: SwaSettings,
    first_epoch: int,
    build: Callable[..., dict[str, Any] | None],
    optimizer: optim.Optimizer,
    steps: int,
    steps_per_epoch: int = 1,
) -> dict[str, Any] | None:
    """Build a scheduler that follows another one until the weights are averaged.

    Args:
        settings: The settings of the average.
        first_epoch: The first epoch whose weights are averaged, from 0.
        build: A function of the other arguments that builds the scheduler to follow, see `build_scheduler`.
        optimizer: The optimizer whose learning rate is scheduled.
        steps: The number of optimizer steps of the whole training.
        steps_per_epoch: The number of optimizer steps of an epoch.

    Returns:
        None for a constant learning rate, else Lightning's lr_scheduler dictionary.
    """
    schedule = build(optimizer, steps, steps_per_epoch=steps_per_epoch)
    if settings.lr is None:
        return schedule
    schedule = schedule or {"scheduler": None, "interval": "step"}
    every = schedule.get("frequency", 1) * (1 if schedule["interval"] == "step" else steps_per_epoch)
    scheduler = SWASchedule(
        optimizer,
        schedule["scheduler"],
        start=first_epoch * steps_per_epoch,
        every=every,
        steps_per_epoch=steps_per_epoch,
        lr=settings.lr,
        annealing_epochs=settings.annealing_epochs,
        cosine=settings.annealing_strategy == "cos",
    )
    kept = {key: value for key, value in schedule.items() if key != "frequency"}
    return kept | {"scheduler": scheduler, "interval": "step"}
