"""The learning-rate range test: from which learning rate the loss falls, and up to which."""

import math
from dataclasses import dataclass
from statistics import mean
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from scipy.ndimage import gaussian_filter1d

from lenet_pl.diagnose.changes import Change
from lenet_pl.diagnose.recorded_run import RecordedRun
from lenet_pl.diagnose.trial import EnoughError, train_briefly
from lenet_pl.optim.parameter_groups import scale_learning_rates
from lenet_pl.runtime.signals import SignalHandler

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100  # twelve learning rates for each factor of ten
SMOOTHING = 2.0  # steps, the standard deviation of a Gaussian; unlike a running mean, it does not lag behind
FIRST = 10  # steps with learning rates too small to change anything, whose mean loss is that of the start
STOP = 4.0  # times the loss of the start, at which the test ends, as Lightning's does
FALLEN = 0.1  # part of its whole decrease that the loss must have fallen by for a learning rate to have an effect
LEAST = 0.05  # part of the loss that it must fall by for a range to exist; the noise of batches is a third of that


@dataclass(frozen=True)
class LearningRateRange:
    """The result of a range test. Source: Smith 2017, "Cyclical learning rates for training neural networks".

    Attributes:
        lowest: The learning rate from which the loss falls.
        suggestion: The learning rate at which it falls fastest.
        highest: The learning rate at which it is smallest, and beyond which it rises.
        lrs: The learning rates that were tried.
        losses: The smoothed training loss at each.
    """

    lowest: float
    suggestion: float
    highest: float
    lrs: list[float]
    losses: list[float]


class Ramp(Callback):
    """Callback that raises the learning rate in each step by the same factor, and ends a training that gets worse.

    Lightning's LearningRateFinder replaces all callbacks, those that clip, freeze or estimate curvature too, and
    divides its first losses by twice their weight.

    Raises:
        EnoughError: The loss is four times that of the first step, or not finite.
    """

    def __init__(self) -> None:
        self.first = 0.0

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rates()[min(trainer.global_step, STEPS - 1)]
            scale_learning_rates(optimizer)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = float(pl_module.last_loss)
        self.first = self.first or loss
        if not loss < STOP * max(1.0, self.first):
            raise EnoughError


def learning_rates() -> list[float]:
    """Return the learning rates of a test, evenly spaced in their logarithm."""
    return [LOWEST * (HIGHEST / LOWEST) ** (k / (STEPS - 1)) for k in range(STEPS)]


def find_lr_range(run: RecordedRun, signals: SignalHandler | None = None) -> LearningRateRange | None:
    """Make a range test of a run from its initial weights; None if the loss never falls, or without a learning rate.

    Args:
        run: The run.
        signals: The signal handler of the process.
    """
    if not isinstance(getattr(run.settings.optimizer, "lr", None), float):
        return None
    change: Change = {"scheduler": "none", "callbacks.early_stopping": None}
    # A short epoch repeated as often as the test needs
    change |= {"trainer.max_epochs": max(STEPS, run.settings.trainer.max_epochs), "trainer.max_steps": -1}
    trial = train_briefly(run, STEPS, change, callbacks=[Ramp()], signals=signals)
    return read_range(learning_rates()[: len(trial.losses)], trial.losses)


def read_range(lrs: list[float], losses: list[float]) -> LearningRateRange | None:
    """Read the range from learning rates in increasing order and the loss at each; None if it never falls."""
    last = next((k for k, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    if last <= FIRST:
        return None
    smooth: list[float] = gaussian_filter1d(losses[:last], SMOOTHING, mode="nearest").tolist()
    start, low = mean(losses[:FIRST]), min(range(last), key=smooth.__getitem__)
    if low <= FIRST or start - smooth[low] < LEAST * start:
        return None
    wanted = start - FALLEN * (start - smooth[low])
    first = next(k for k in range(low, 0, -1) if smooth[k - 1] > wanted)
    steepest = min(range(first, low + 1), key=lambda k: smooth[k] - smooth[k - 1])
    return LearningRateRange(lrs[first], lrs[steepest], lrs[low], lrs[:last], smooth)
