"""The learning-rate range test: from which learning rate the loss falls, and up to which."""

import contextlib
import io
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import LearningRateFinder

from lenet_pl.diagnose.recorded_run import RecordedRun
from lenet_pl.diagnose.trial import EnoughError
from lenet_pl.engine.trainer import build_trainer, ranked
from lenet_pl.errors import DivergenceError
from lenet_pl.runtime.signals import SignalHandler

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100  # twelve learning rates for each factor of ten
FALLEN = 0.1  # part of its whole decrease that the loss must have fallen by for a learning rate to have an effect


@dataclass(frozen=True)
class LearningRateRange:
    """The result of a range test. Source: Smith 2017, "Cyclical learning rates for training neural networks".

    Attributes:
        lowest: The learning rate from which the loss falls.
        suggestion: The learning rate at which it falls fastest.
        highest: The learning rate at which it is smallest, and rises beyond.
        lrs: The learning rates that were tried.
        losses: The smoothed training loss at each.
    """

    lowest: float
    suggestion: float
    highest: float
    lrs: list[float]
    losses: list[float]


class Stop(LearningRateFinder):
    """Lightning's LearningRateFinder, after which the training ends."""

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        raise EnoughError


def find_lr_range(run: RecordedRun, signals: SignalHandler | None = None) -> LearningRateRange | None:
    """Make a range test of a run from its initial weights; None if the loss never falls, or without a learning rate.

    Args:
        run: The run.
        signals: The signal handler of the process.
    """
    if not isinstance(getattr(run.settings.optimizer, "lr", None), float) or run.settings.optimizer.name == "sdlm":
        return None  # SDLM's steps also depend on a curvature that Lightning's finder does not estimate
    finder = Stop(LOWEST, HIGHEST, STEPS)
    silent: Any = io.StringIO()
    with tempfile.TemporaryDirectory() as place, ranked(0):
        settings, initial = run.changed({"extra_callbacks": {}})
        data, task = run.build(settings, initial, signals=signals)
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            trainer = build_trainer(settings, Path(place), [finder], signals)
            try:
                trainer.fit(task, data)
            except (EnoughError, DivergenceError):
                pass
    if finder.optimal_lr is None:
        return None
    return read_range(finder.optimal_lr.results["lr"], finder.optimal_lr.results["loss"])


def read_range(lrs: list[float], losses: list[float]) -> LearningRateRange | None:
    """Read the range from learning rates in increasing order and the smoothed loss at each; None if it never falls."""
    pairs = [(lr, loss) for lr, loss in zip(lrs, losses, strict=False) if math.isfinite(loss)]
    if len(pairs) < STEPS // 10:
        return None
    rates, smooth = [lr for lr, _ in pairs], [loss for _, loss in pairs]
    low = min(range(len(smooth)), key=smooth.__getitem__)
    start = max(smooth[: low + 1])
    if not low or start - smooth[low] < 0.02 * start:
        return None
    wanted = start - FALLEN * (start - smooth[low])
    first = next(k for k in range(low + 1) if smooth[k] <= wanted and k >= smooth.index(start))
    # In the logarithm of the learning rate, in which they are evenly spaced
    steepest = min(range(first, low + 1), key=lambda k: smooth[k] - smooth[k - 1] if k else 0.0)
    return LearningRateRange(rates[first], rates[steepest], rates[low], rates, smooth)
