"""What loaders need to know of a Trainer: device, rank, epoch and finished batches."""

import itertools
from collections.abc import Callable
from typing import Any

import lightning
import torch

CPU = torch.device("cpu")


def place_of(trainer: lightning.Trainer | None) -> tuple[torch.device, int, int]:
    """Return the device, the rank and the number of processes; without a trainer, one process on the CPU."""
    if trainer is None:
        return CPU, 0, 1
    return trainer.strategy.root_device, trainer.global_rank, trainer.world_size


def epoch_counter(trainer: Any) -> Callable[[], int]:
    """Return a function that returns the current epoch; without a trainer, each call starts a new one."""
    passes = itertools.count()
    if trainer is None:
        return passes.__next__
    return lambda: finished_epochs(trainer)


def finished_epochs(trainer: Any) -> int:
    """Count the finished epochs. Unlike `trainer.current_epoch`, the same before and after a resume."""
    return int(trainer.fit_loop.epoch_progress.current.processed)


def finished_batches(trainer: Any) -> int:
    """Count the finished batches of the current epoch, of which there are some when the run is resumed within it."""
    if trainer is None:
        return 0
    # `ImageClassifier` counts itself, since Lightning counts chunks on the fast path
    counted: int = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return getattr(trainer.lightning_module, "step_in_epoch", counted)


def overfits(trainer: Any) -> bool:
    """Whether every epoch has the same few batches, for which Lightning disables the shuffling of its own loaders."""
    return trainer is not None and trainer.overfit_batches > 0
