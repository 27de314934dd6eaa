"""Settings of the groups `optimizer` and `scheduler` and of `loss`."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lenet_pl.settings.types import Count, Metric, NotNegative, Positive, Probability, Settings, Share


class LossSettings(Settings):
    """What the training makes small."""

    name: Literal["cross_entropy", "penalty", "map"]
    rubbish: Annotated[float, Field(ge=0, le=1000)]  # j of map: distance beyond which nothing has to be pushed
    label_smoothing: Probability
    class_weights: Literal["balanced"] | Annotated[list[Positive], Field(min_length=2)] | None

    @field_validator("label_smoothing", "class_weights")
    @classmethod
    def _only_of_cross_entropy(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name", "cross_entropy")
        if value and name != "cross_entropy":
            nothing = "0" if info.field_name == "label_smoothing" else "null"
            raise ValueError(f"got {value} beside loss.name={name}; accepted is {nothing}, or loss.name=cross_entropy")
        return value


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


class SdlmSettings(Settings):
    """Stochastic diagonal Levenberg-Marquardt: steps of lr / (mu + h). Source: LeCun et al. 1998."""

    name: Literal["sdlm"]
    lr: Annotated[float, Field(gt=0, le=1000)]
    mu: Positive  # keeps steps small where the loss is hardly curved
    samples: Count  # training images from which h is estimated before each epoch


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


class PassesSettings(Settings):
    """Multiply the lr by the first of `factors` for the first of `epochs`, and so on; the last one stays."""

    name: Literal["passes"]
    epochs: Annotated[list[Count], Field(min_length=1)]
    factors: Annotated[list[Annotated[float, Field(gt=0, le=1000)]], Field(min_length=2)]

    @field_validator("factors")
    @classmethod
    def _one_more_than_epochs(cls, factors: list[float], info: ValidationInfo) -> list[float]:
        lengths = info.data.get("epochs", factors[1:])
        if len(factors) != len(lengths) + 1:
            raise ValueError(
                f"got {len(factors)} beside {len(lengths)} scheduler.epochs; accepted is one more, for the rest"
            )
        return factors


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


AnyOptimizerSettings = Annotated[
    AdamSettings | SgdSettings | RmspropSettings | SdlmSettings, Field(discriminator="name")
]
AnySchedulerSettings = Annotated[
    PlateauSettings
    | StepSettings
    | ExponentialSettings
    | PassesSettings
    | CosineSettings
    | OneCycleSettings
    | NoSchedulerSettings,
    Field(discriminator="name"),
]
