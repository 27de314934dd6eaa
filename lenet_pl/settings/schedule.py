"""Settings of the group `scheduler`."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, ValidationInfo, field_validator

from lenet_pl.plugins.registry import register_own
from lenet_pl.settings.parts import OFFERED, PLUGGED, Part
from lenet_pl.settings.types import Factor, Fraction, LearningRate, Metric, PartSettings, PositiveInt


class SchedulerSettings(PartSettings):
    """The settings of every schedule but one-cycle, which has a warm-up of its own."""

    warmup_epochs: Annotated[float, Field(ge=0, le=100_000)]
    """Epochs in which the learning rate first increases linearly, by step; the schedule begins after them."""
    warmup_factor: Factor
    """First learning rate of the warm-up / learning rate."""


class PlateauSettings(SchedulerSettings):
    """Multiply the learning rate by `factor` after `patience` epochs without a better `monitor`."""

    name: Literal["plateau"]
    """Choice of the group `scheduler`."""
    monitor: Metric
    """Metric that must improve."""
    factor: Fraction
    """Factor of the learning rate."""
    patience: Annotated[int, Field(ge=0)]
    """Epochs without improvement before the learning rate is reduced."""


class StepSettings(SchedulerSettings):
    """Multiply the learning rate by `gamma` every `step_size` epochs."""

    name: Literal["step"]
    """Choice of the group `scheduler`."""
    step_size: PositiveInt
    """Epochs between two reductions of the learning rate."""
    gamma: Factor
    """Factor of the learning rate."""


class MultiStepSettings(SchedulerSettings):
    """Multiply the learning rate by `gamma` after each of the `milestones`."""

    name: Literal["multistep"]
    """Choice of the group `scheduler`."""
    milestones: Annotated[list[PositiveInt], Field(min_length=1)]
    """Epochs after which the learning rate is reduced, in increasing order."""
    gamma: Factor
    """Factor of the learning rate."""

    @field_validator("milestones")
    @classmethod
    def _check_order(cls, milestones: list[int]) -> list[int]:
        if any(one >= other for one, other in pairwise(milestones)):
            raise ValueError(f"got {milestones}; must be in increasing order")
        return milestones


class ExponentialSettings(SchedulerSettings):
    """Multiply the learning rate by `gamma` every epoch."""

    name: Literal["exponential"]
    """Choice of the group `scheduler`."""
    gamma: Factor
    """Factor of the learning rate."""


class PiecewiseConstantSettings(SchedulerSettings):
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


class CosineSettings(SchedulerSettings):
    """Half a cosine from the learning rate down to `eta_min`, updated every step."""

    name: Literal["cosine"]
    """Choice of the group `scheduler`."""
    eta_min: NonNegativeFloat
    """Learning rate after the last step."""


class CosineRestartsSettings(SchedulerSettings):
    """Half a cosine, again and again, updated every step. Source: Loshchilov and Hutter 2017, SGDR."""

    name: Literal["cosine_restarts"]
    """Choice of the group `scheduler`."""
    period: PositiveInt
    """Epochs from the start to the first restart, T_0 of the paper."""
    period_factor: PositiveInt
    """Factor of the period after each restart, T_mult of the paper."""
    eta_min: NonNegativeFloat
    """Learning rate before each restart."""


class PolynomialSettings(SchedulerSettings):
    """From the learning rate down to 0 as (1 - step / steps)**power, updated every step."""

    name: Literal["polynomial"]
    """Choice of the group `scheduler`."""
    power: PositiveFloat
    """Exponent; 1: a line."""


class LinearSettings(SchedulerSettings):
    """In a line from the learning rate to a part of it, updated every step."""

    name: Literal["linear"]
    """Choice of the group `scheduler`."""
    end_factor: Annotated[float, Field(ge=0, le=1)]
    """Last learning rate / learning rate."""


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


class NoSchedulerSettings(SchedulerSettings):
    """The learning rate stays constant."""

    name: Literal["none"]
    """Choice of the group `scheduler`."""


AnySchedulerSettings = Annotated[PartSettings, Part("scheduler")]
PLUGGED["scheduler"] = SchedulerSettings
OFFERED["scheduler"] = {"warmup_epochs": 0, "warmup_factor": 0.01}
register_own("scheduler", "plateau", "lenet_pl.optim.schedulers:plateau", PlateauSettings)
register_own("scheduler", "step", "torch.optim.lr_scheduler:StepLR", StepSettings)
register_own("scheduler", "multistep", "torch.optim.lr_scheduler:MultiStepLR", MultiStepSettings)
register_own("scheduler", "exponential", "torch.optim.lr_scheduler:ExponentialLR", ExponentialSettings)
register_own(
    "scheduler", "piecewise_constant", "lenet_pl.optim.schedulers:piecewise_constant", PiecewiseConstantSettings
)
register_own("scheduler", "cosine", "lenet_pl.optim.schedulers:cosine", CosineSettings)
register_own("scheduler", "cosine_restarts", "lenet_pl.optim.schedulers:cosine_restarts", CosineRestartsSettings)
register_own("scheduler", "polynomial", "lenet_pl.optim.schedulers:polynomial", PolynomialSettings)
register_own("scheduler", "linear", "lenet_pl.optim.schedulers:linear", LinearSettings)
register_own("scheduler", "onecycle", "lenet_pl.optim.schedulers:onecycle", OneCycleSettings)
register_own("scheduler", "none", "lenet_pl.optim.schedulers:constant", NoSchedulerSettings)
