"""Settings of the groups `optimizer` and `scheduler` and of `loss`."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, ValidationInfo, field_validator, model_validator

from lenet_pl.plugins.registry import register_own
from lenet_pl.settings.parts import PLUGGED, Part
from lenet_pl.settings.types import Fraction, Metric, PartSettings, PositiveInt, Probability

LearningRate = Annotated[float, Field(gt=0, le=1000)]
Factor = Annotated[float, Field(gt=0, le=1)]


class LossSettings(PartSettings):
    """What the training minimizes."""

    name: Literal["cross_entropy", "mle", "map"]
    """Loss; mle and map are the maximum likelihood and maximum a posteriori criteria of LeCun et al. 1998."""
    rubbish_penalty: Annotated[float, Field(ge=0, le=1000)]
    """Squared distance beyond which no class is pushed away, j of the map criterion."""
    label_smoothing: Probability
    """Fraction of the target that is spread over all classes."""
    class_weights: Literal["balanced"] | Annotated[list[PositiveFloat], Field(min_length=2)] | None
    """Weight of each class in the loss; balanced: 1 / frequency."""

    @field_validator("label_smoothing", "class_weights")
    @classmethod
    def _check_cross_entropy_only(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.data.get("name", "cross_entropy")
        if value and name != "cross_entropy":
            nothing = "0" if info.field_name == "label_smoothing" else "null"
            raise ValueError(f"got {value} with loss.name={name}; must be {nothing}, or loss.name=cross_entropy")
        return value


class AdamSettings(PartSettings):
    """torch.optim.Adam or AdamW."""

    name: Literal["adam", "adamw"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate; with scheduler=onecycle its peak."""
    weight_decay: NonNegativeFloat
    """L2 penalty in the gradient (adam), or decoupled decay (adamw)."""
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    """Decay rates of the averages of the gradient and its square."""
    eps: PositiveFloat
    """Term added to the denominator."""


class SgdSettings(PartSettings):
    """torch.optim.SGD."""

    name: Literal["sgd"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate; with scheduler=onecycle its peak."""
    weight_decay: NonNegativeFloat
    """L2 penalty in the gradient."""
    momentum: Probability
    """Momentum factor."""
    nesterov: bool
    """Whether the momentum is Nesterov's."""

    @model_validator(mode="after")
    def _check_nesterov(self) -> "SgdSettings":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=true needs momentum > 0, got momentum=0")
        return self


class RmspropSettings(PartSettings):
    """torch.optim.RMSprop."""

    name: Literal["rmsprop"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate; with scheduler=onecycle its peak."""
    weight_decay: NonNegativeFloat
    """L2 penalty in the gradient."""
    momentum: Probability
    """Momentum factor."""
    alpha: Probability
    """Decay rate of the average of the squared gradient."""


class SdlmSettings(PartSettings):
    """Stochastic diagonal Levenberg-Marquardt: steps of lr / (mu + h). Source: LeCun et al. 1998."""

    name: Literal["sdlm"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Global learning rate."""
    mu: PositiveFloat
    """Damping where the loss is hardly curved."""
    curvature_samples: PositiveInt
    """Training images from which the curvature h is estimated before each epoch."""


class PlateauSettings(PartSettings):
    """Multiply the learning rate by `factor` after `patience` epochs without a better `monitor`."""

    name: Literal["plateau"]
    """Choice of the group `scheduler`."""
    monitor: Metric
    """Metric that must improve."""
    factor: Fraction
    """Factor of the learning rate."""
    patience: Annotated[int, Field(ge=0)]
    """Epochs without improvement before the learning rate is reduced."""


class StepSettings(PartSettings):
    """Multiply the learning rate by `gamma` every `step_size` epochs."""

    name: Literal["step"]
    """Choice of the group `scheduler`."""
    step_size: PositiveInt
    """Epochs between two reductions of the learning rate."""
    gamma: Factor
    """Factor of the learning rate."""


class ExponentialSettings(PartSettings):
    """Multiply the learning rate by `gamma` every epoch."""

    name: Literal["exponential"]
    """Choice of the group `scheduler`."""
    gamma: Factor
    """Factor of the learning rate."""


class PiecewiseConstantSettings(PartSettings):
    """Multiply the learning rate by the first of `factors` for the first of `epochs`, and so on; the last one stays."""

    name: Literal["piecewise_constant"]
    """Choice of the group `scheduler`."""
    epochs: Annotated[list[PositiveInt], Field(min_length=1)]
    """Number of epochs for which each factor but the last holds."""
    factors: Annotated[list[LearningRate], Field(min_length=2)]
    """Factors of the learning rate; one more than `epochs`."""

    @field_validator("factors")
    @classmethod
    def _check_factors(cls, factors: list[float], info: ValidationInfo) -> list[float]:
        lengths = info.data.get("epochs", factors[1:])
        if len(factors) != len(lengths) + 1:
            raise ValueError(
                f"got {len(factors)} factors for {len(lengths)} scheduler.epochs; "
                "must be one more, for the remaining epochs"
            )
        return factors


class CosineSettings(PartSettings):
    """Half a cosine from the learning rate down to `eta_min`, updated every step."""

    name: Literal["cosine"]
    """Choice of the group `scheduler`."""
    eta_min: NonNegativeFloat
    """Learning rate after the last step."""


class OneCycleSettings(PartSettings):
    """Up to the learning rate and down again, updated every step. Source: Smith and Topin 2018."""

    name: Literal["onecycle"]
    """Choice of the group `scheduler`."""
    pct_start: Fraction
    """Fraction of all steps in which the learning rate increases."""
    start_factor: Factor
    """First learning rate / peak learning rate."""
    final_factor: Factor
    """Last learning rate / peak learning rate."""
    cycle_momentum: bool
    """Whether momentum, or Adam's first beta, goes from 0.95 down to 0.85 and back, whatever was set."""


class NoSchedulerSettings(PartSettings):
    """The learning rate stays constant."""

    name: Literal["none"]
    """Choice of the group `scheduler`."""


AnyLossSettings = Annotated[PartSettings, Part("loss")]
AnyOptimizerSettings = Annotated[PartSettings, Part("optimizer")]
AnySchedulerSettings = Annotated[PartSettings, Part("scheduler")]
PLUGGED |= dict.fromkeys(("loss", "optimizer", "scheduler"), PartSettings)
for _name in ("cross_entropy", "mle", "map"):
    register_own("loss", _name, "lenet_pl.optim.losses:build_own", LossSettings)
register_own("optimizer", "adam", "torch.optim:Adam", AdamSettings)
register_own("optimizer", "adamw", "torch.optim:AdamW", AdamSettings)
register_own("optimizer", "sgd", "torch.optim:SGD", SgdSettings)
register_own("optimizer", "rmsprop", "torch.optim:RMSprop", RmspropSettings)
register_own("optimizer", "sdlm", "lenet_pl.optim.sdlm:SDLM", SdlmSettings)
register_own("scheduler", "plateau", "lenet_pl.optim.schedulers:plateau", PlateauSettings)
register_own("scheduler", "step", "torch.optim.lr_scheduler:StepLR", StepSettings)
register_own("scheduler", "exponential", "torch.optim.lr_scheduler:ExponentialLR", ExponentialSettings)
register_own(
    "scheduler", "piecewise_constant", "lenet_pl.optim.schedulers:piecewise_constant", PiecewiseConstantSettings
)
register_own("scheduler", "cosine", "lenet_pl.optim.schedulers:cosine", CosineSettings)
register_own("scheduler", "onecycle", "lenet_pl.optim.schedulers:onecycle", OneCycleSettings)
register_own("scheduler", "none", "lenet_pl.optim.schedulers:constant", NoSchedulerSettings)
