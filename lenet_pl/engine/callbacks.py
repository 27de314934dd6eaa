"""Callbacks of the caller, for one training or several, and one of Lightning's that needs to know our batches."""

import copy
from collections.abc import Callable, Sequence

from lightning.pytorch.callbacks import Callback, ThroughputMonitor

from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings

Callbacks = Sequence[Callback] | Callable[[TrainSettings], Sequence[Callback]]


def for_each(callbacks: Callbacks) -> Callable[[TrainSettings], Sequence[Callback]]:
    """Make a function of the training settings that returns separate callbacks for each of several trainings.

    Args:
        callbacks: Callbacks to copy (SettingError if one cannot be copied), or already such a function.
    """
    if callable(callbacks):
        return callbacks

    def copies(settings: TrainSettings) -> Sequence[Callback]:
        try:
            return copy.deepcopy(callbacks)
        except Exception as error:  # third-party callbacks may raise anything
            raise SettingError(
                f"callbacks: cannot be copied for seed {settings.seed} ({type(error).__name__}: {error}); must be a "
                "function that builds them from the settings"
            ) from error

    return copies


def build_throughput_monitor(window_size: int) -> ThroughputMonitor:
    """Build Lightning's ThroughputMonitor for batches of images."""
    return ThroughputMonitor(lambda batch: len(batch.labels), window_size=window_size)
