"""Settings of the group `callbacks`."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, ValidationInfo, field_validator

from lenet_pl.settings.roles import Role
from lenet_pl.settings.types import Fraction, LearningRate, Metric, PositiveInt, Settings


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


class SwaSettings(Settings):
    """Stochastic weight averaging (SWA): the mean of the weights at the end of several epochs, used instead of them."""

    start: Annotated[int, Field(ge=0)] | Fraction | None
    """Epochs before the first one that is averaged, or their fraction of `trainer.max_epochs`; null: no average."""
    lr: LearningRate | None
    """Constant learning rate of the averaged epochs; null: that of the schedule."""
    annealing_epochs: Annotated[int, Field(ge=0)]
    """Epochs in which the learning rate changes from that of the schedule to `lr`; 0: at once."""
    annealing_strategy: Literal["cos", "linear"]
    """Curve of this change."""

    @field_validator("lr")
    @classmethod
    def _check_lr(cls, lr: float | None, info: ValidationInfo) -> float | None:
        if lr is not None and info.data.get("start", 0) is None:
            raise ValueError(f"got {lr} without an average; must be null, or use callbacks.swa.start=0.75")
        return lr

    def first_epoch(self, max_epochs: int) -> int | None:
        """Return the first epoch that is averaged, from 0; None without an average."""
        return int(self.start * max_epochs) if isinstance(self.start, float) else self.start


class CallbacksSettings(Settings):
    """Callbacks."""

    early_stopping: EarlyStoppingSettings | None
    """Early stopping; null: all epochs are run."""
    checkpoint: Annotated[CheckpointSettings, Role.EVALUATION]
    """Checkpoint of the best epoch."""
    ema: EmaSettings
    """Exponential moving average (EMA) of the weights."""
    swa: SwaSettings
    """Stochastic weight averaging (SWA)."""
    progress_bar: Annotated[bool, Role.COSMETIC]
    """Whether a progress bar is shown."""
    model_summary: Annotated[bool, Role.COSMETIC]
    """Whether a table of layers with output shapes and parameters is shown."""

    @field_validator("swa")
    @classmethod
    def _check_one_average(cls, swa: SwaSettings, info: ValidationInfo) -> SwaSettings:
        ema = info.data.get("ema")
        if swa.start is not None and ema and ema.decay is not None:
            raise ValueError(f"start: got {swa.start} with callbacks.ema.decay={ema.decay}; one of them must be null")
        return swa
