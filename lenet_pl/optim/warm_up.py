"""Linear warm-up of the learning rate before any schedule."""

from typing import Any

from torch import optim
from torch.optim import lr_scheduler


class WarmUp(lr_scheduler.LRScheduler):
    """Increase the learning rate linearly, step by step, then follow another schedule.

    After n of W steps the learning rate is lr · (factor + (1 - factor) · n / W), as by torch's `LinearLR`. The other
    schedule begins after W steps, as in torch's `SequentialLR`, which would not do for schedules that count epochs or
    wait for a metric.

    Args:
        optimizer: The optimizer.
        after: The scheduler of the same optimizer that follows; None for a constant learning rate. A
            `ReduceLROnPlateau` is not stepped: see `plateau`.
        steps: The number of steps of the warm-up, W.
        factor: The first learning rate / learning rate.
        every: The number of steps after which `after` is stepped: 1, or the steps of an epoch.
    """

    def __init__(
        self,
        optimizer: optim.Optimizer,
        after: lr_scheduler.LRScheduler | None,
        *,
        steps: int,
        factor: float,
        every: int = 1,
    ) -> None:
        self.after, self.steps, self.factor, self.every = after, steps, factor, every
        self.targets = [group["lr"] for group in optimizer.param_groups]  # where `after` begins
        super().__init__(optimizer)

    @property
    def plateau(self) -> lr_scheduler.ReduceLROnPlateau | None:
        """The scheduler that is to be stepped with the metric of the epoch that ends; None during the warm-up."""
        ready = isinstance(self.after, lr_scheduler.ReduceLROnPlateau) and self.last_epoch > self.steps
        return self.after if ready else None  # type: ignore[return-value]

    def step(self, epoch: int | None = None) -> None:
        """Update the learning rate after an optimizer step; `epoch` is not used."""
        self._step_count += 1
        self.last_epoch += 1
        done = self.last_epoch - self.steps
        if done <= 0:
            share = self.factor + (1 - self.factor) * self.last_epoch / self.steps
            for group, target in zip(self.optimizer.param_groups, self.targets, strict=True):
                group["lr"] = target if done == 0 else target * share
        elif done % self.every == 0 and self.after and not isinstance(self.after, lr_scheduler.ReduceLROnPlateau):
            self.after.step()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "_last_lr": self._last_lr,
            "targets": self.targets,
            "after": self.after.state_dict() if self.after else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = dict(state_dict)
        after = own.pop("after")
        self.__dict__.update(own)
        if self.after:
            self.after.load_state_dict(after)
