"""Settings of the group `callbacks`."""

from typing import Annotated

from pydantic import NonNegativeFloat

from lenet_pl.settings.roles import Role
from lenet_pl.settings.types import Fraction, Metric, PositiveInt, Settings


class EarlyStoppingSettings(Settings):
    """Stop after `patience` epochs in which `monitor` did not improve by more than `min_delta`."""

    monitor: Metric
    """Metric that must improve."""
    patience: PositiveInt
    """Epochs without improvement before stopping."""
    min_delta: NonNegativeFloat
    """Smallest change of the metric that counts as an improvement."""


class CheckpointSettings(Settings):
    """The metric that selects the best epoch. The last epoch is always saved, too."""

    monitor: Metric
    """Metric of the best epoch."""


class EmaSettings(Settings):
    """Exponential moving average (EMA) of the weights, which is validated, tested and saved instead of the weights."""

    decay: Fraction | None
    """Decay of the average per step; 0.999 averages about 1,000 steps; null: no average."""


class CallbacksSettings(Settings):
    """Callbacks."""

    early_stopping: EarlyStoppingSettings | None
    """Early stopping; null: all epochs are run."""
    checkpoint: Annotated[CheckpointSettings, Role.EVALUATION]
    """Checkpoint of the best epoch."""
    ema: EmaSettings
    """Exponential moving average (EMA) of the weights."""
    progress_bar: Annotated[bool, Role.COSMETIC]
    """Whether a progress bar is shown."""
    model_summary: Annotated[bool, Role.COSMETIC]
    """Whether a table of layers with output shapes and parameters is shown."""
