"""Settings of the groups `optimizer` and `loss`."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, ValidationInfo, field_validator, model_validator

from lenet_pl.plugins.registry import register_own
from lenet_pl.settings.parts import PLUGGED, Part
from lenet_pl.settings.types import Fraction, LearningRate, PartSettings, PositiveInt, Probability


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
    """torch.optim.Adam, AdamW or RAdam."""

    name: Literal["adam", "adamw", "radam"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate; with scheduler=onecycle its peak."""
    weight_decay: NonNegativeFloat
    """L2 penalty in the gradient (adam, radam), or decoupled decay (adamw)."""
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    """Decay rates of the averages of the gradient and its square."""
    eps: PositiveFloat
    """Term added to the denominator."""


class NadamSettings(PartSettings):
    """torch.optim.NAdam, Adam with Nesterov's momentum. Source: Dozat 2016."""

    name: Literal["nadam"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate; with scheduler=onecycle its peak."""
    weight_decay: NonNegativeFloat
    """L2 penalty in the gradient."""
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    """Decay rates of the averages of the gradient and its square."""
    eps: PositiveFloat
    """Term added to the denominator."""
    momentum_decay: NonNegativeFloat
    """Decay of the momentum over the steps."""


class LionSettings(PartSettings):
    """Lion of the package lion-pytorch. Source: Chen et al. 2023."""

    name: Literal["lion"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate, three to ten times less than for Adam; with scheduler=onecycle its peak."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay."""
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    """Decay rates of the average of the gradient: in the update, and of the average itself."""


class MuonSettings(PartSettings):
    """torch.optim.Muon for weight matrices, AdamW for all other parameters. Source: Jordan et al. 2024."""

    name: Literal["muon"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate; with scheduler=onecycle its peak."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay."""
    momentum: Probability
    """Momentum factor of Muon."""
    nesterov: bool
    """Whether the momentum is Nesterov's."""
    adjust_lr: Literal["match_rms_adamw", "original"]
    """Dependence of Muon's learning rate on the shape; match_rms_adamw: updates as large as those of AdamW."""
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    """Decay rates of AdamW's averages of the gradient and its square."""
    eps: PositiveFloat
    """Term added to the denominator of AdamW."""


class ScheduleFreeAdamWSettings(PartSettings):
    """Schedule-free AdamW of the package schedulefree, best with scheduler=none. Source: Defazio et al. 2024."""

    name: Literal["schedule_free_adamw"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate, one to ten times that of AdamW with a schedule."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay."""
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)]
    """Interpolation of the trained weights between average and sequence, and decay rate of the squared gradient."""
    eps: PositiveFloat
    """Term added to the denominator."""


class ScheduleFreeSgdSettings(PartSettings):
    """Schedule-free SGD of the package schedulefree, best with scheduler=none. Source: Defazio et al. 2024."""

    name: Literal["schedule_free_sgd"]
    """Choice of the group `optimizer`."""
    lr: LearningRate
    """Learning rate, ten to fifty times that of SGD with a schedule."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay."""
    momentum: Fraction
    """Interpolation of the trained weights between average and sequence."""


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


AnyLossSettings = Annotated[PartSettings, Part("loss")]
AnyOptimizerSettings = Annotated[PartSettings, Part("optimizer")]
PLUGGED |= dict.fromkeys(("loss", "optimizer"), PartSettings)
for _name in ("cross_entropy", "mle", "map"):
    register_own("loss", _name, "lenet_pl.optim.losses:build_own", LossSettings)
register_own("optimizer", "adam", "torch.optim:Adam", AdamSettings)
register_own("optimizer", "adamw", "torch.optim:AdamW", AdamSettings)
register_own("optimizer", "radam", "torch.optim:RAdam", AdamSettings)
register_own("optimizer", "nadam", "torch.optim:NAdam", NadamSettings)
register_own("optimizer", "lion", "lenet_pl.optim.optimizers:lion", LionSettings)
for _name, _class in (
    ("schedule_free_adamw", ScheduleFreeAdamWSettings),
    ("schedule_free_sgd", ScheduleFreeSgdSettings),
):
    register_own("optimizer", _name, "lenet_pl.optim.optimizers:schedule_free", _class)
register_own("optimizer", "muon", "lenet_pl.optim.muon:MuonWithAdamW", MuonSettings)
register_own("optimizer", "sgd", "torch.optim:SGD", SgdSettings)
register_own("optimizer", "rmsprop", "torch.optim:RMSprop", RmspropSettings)
register_own("optimizer", "sdlm", "lenet_pl.optim.sdlm:SDLM", SdlmSettings)
