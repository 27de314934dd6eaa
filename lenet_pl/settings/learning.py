"""Settings of the groups `optimizer` and `scheduler` and of `loss`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lenet_pl.settings.types import Count, Metric, NotNegative, Positive, Probability, Settings, Share


class LossSettings(Settings):
    """Cross entropy and its weights."""

    label_smoothing: Probability
    class_weights: Literal["balanced"] | Annotated[list[Positive], Field(min_length=2)] | None


class AdamSettings(Settings):
    """torch.optim.Adam or AdamW."""

    name: Literal["adam", "adamw"]
    lr: Annotated[float, Field(gt=0, le=1000)]  # with scheduler=onecycle the peak
    weight_decay: NotNegative
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    eps: Positive


class SgdSettings(Settings):
    """torch.optim.SGD."""

    name: Literal["sgd"]
    lr: Annotated[float, Field(gt=0, le=1000)]
    weight_decay: NotNegative
    momentum: Probability
    nesterov: bool

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SgdSettings":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true needs momentum > 0, got momentum=0")
        return self


class RmspropSettings(Settings):
    """torch.optim.RMSprop."""

    name: Literal["rmsprop"]
    lr: Annotated[float, Field(gt=0, le=1000)]
    weight_decay: NotNegative
    momentum: Probability
    alpha: Probability


class PlateauSettings(Settings):
    """Multiply the lr by `factor` after `patience` epochs without a better `monitor`."""

    name: Literal["plateau"]
    monitor: Metric
    factor: Share
    patience: Annotated[int, Field(ge=0)]  # epochs


class StepSettings(Settings):
    """Multiply the lr by `gamma` every `step_size` epochs."""

    name: Literal["step"]
    step_size: Count  # epochs
    gamma: Annotated[float, Field(gt=0, le=1)]


class ExponentialSettings(Settings):
    """Multiply the lr by `gamma` every epoch."""

    name: Literal["exponential"]
    gamma: Annotated[float, Field(gt=0, le=1)]


class CosineSettings(Settings):
    """Half a cosine from the lr down to `final_lr`, a little every step."""

    name: Literal["cosine"]
    final_lr: NotNegative


class OneCycleSettings(Settings):
    """Up to the lr and down again, a little every step. Source: Smith and Topin 2018."""

    name: Literal["onecycle"]
    warmup: Share  # share of all steps spent going up
    start_factor: Annotated[float, Field(gt=0, le=1)]  # first lr / peak lr
    final_factor: Annotated[float, Field(gt=0, le=1)]  # last lr / peak lr
    cycle_momentum: bool  # momentum, or Adam's first beta, from 0.95 down to 0.85 and back, whatever was set


class NoSchedulerSettings(Settings):
    """The lr stays as it is."""

    name: Literal["none"]


AnyOptimizerSettings = Annotated[AdamSettings | SgdSettings | RmspropSettings, Field(discriminator="name")]
AnySchedulerSettings = Annotated[
    PlateauSettings | StepSettings | ExponentialSettings | CosineSettings | OneCycleSettings | NoSchedulerSettings,
    Field(discriminator="name"),
]
