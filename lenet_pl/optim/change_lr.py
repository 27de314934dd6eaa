"""A change of the learning rate during a training, with all that is derived from it."""

from typing import Any

from torch.optim import Optimizer

OF_GROUP = ("initial_lr", "max_lr", "min_lr")  # learning rates that schedulers keep in `param_groups`
OF_SCHEDULER = ("base_lrs", "targets", "_last_lr")  # and in themselves; `targets` is `WarmUp`'s


def change_lr(optimizer: Optimizer, scheduler: Any, lr: float) -> None:
    """Set the learning rate of the first group, and scale those of the other groups and of the schedule with it.

    A schedule thus keeps its shape: half a cosine that is at 0.01 when the learning rate is set to 0.02 continues at
    twice its height. After a learning rate of 0 nothing is scaled.

    Args:
        optimizer: The optimizer.
        scheduler: Its scheduler, or None.
        lr: The new learning rate of the first group of parameters.
    """
    current = optimizer.param_groups[0]["lr"]
    for group in optimizer.param_groups:
        group["lr"] = lr * (group["lr"] / current) if current else lr  # the first becomes exactly `lr`
        if current:
            group.update({name: group[name] * (lr / current) for name in OF_GROUP if name in group})
    if current:
        _scale(scheduler, lr / current)


def _scale(scheduler: Any, factor: float) -> None:
    for name in OF_SCHEDULER:
        if isinstance(values := getattr(scheduler, name, None), list):
            setattr(scheduler, name, [value * factor for value in values])
    after = getattr(scheduler, "after", None)  # of `WarmUp`
    for inner in (*getattr(scheduler, "_schedulers", ()), *([after] if after is not None else [])):
        _scale(inner, factor)
