"""Callbacks of the caller, for one training or several."""

import copy
from collections.abc import Callable, Sequence

from lightning.pytorch.callbacks import Callback

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
