"""Settings of the groups of which a run may choose any number of parts: transforms, metrics, callbacks and loggers."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lenet_pl.plugins.registry import register_own
from lenet_pl.settings.parts import PLUGGED, Part
from lenet_pl.settings.types import PartSettings, PositiveInt

AnyTransformSettings = Annotated[PartSettings, Part("transform")]
AnyMetricSettings = Annotated[PartSettings, Part("metric")]
AnyCallbackSettings = Annotated[PartSettings, Part("callback")]
AnyLoggerSettings = Annotated[PartSettings, Part("logger")]
Plugins = list[Annotated[str, Field(min_length=1)]]  # modules, loaded before the settings are composed

PLUGGED |= dict.fromkeys(("transform", "metric", "callback", "logger"), PartSettings)


class AverageSettings(PartSettings):
    """F1, precision or recall."""

    average: Literal["macro", "weighted", "micro"]
    """Mean over the classes, weighted by their number of images, or over all images."""


class CurveSettings(PartSettings):
    """Area under the ROC curve, or average precision."""

    average: Literal["macro", "weighted"]
    """Mean over the classes, or weighted by their number of images."""
    thresholds: Annotated[int, Field(ge=2, le=10_000)] | None
    """Number of thresholds; null: exact, with memory for all images."""


class TopKSettings(PartSettings):
    """Accuracy among the most probable classes."""

    top_k: PositiveInt
    """Number of most probable classes among which the true one counts as correct."""


class CalibrationErrorSettings(PartSettings):
    """Difference between confidence and accuracy."""

    n_bins: PositiveInt
    """Bins of the confidence."""
    norm: Literal["l1", "l2", "max"]
    """Norm of the differences; l1: expected calibration error."""


class MatthewsSettings(PartSettings):
    """Matthews correlation coefficient."""


class LearningRateMonitorSettings(PartSettings):
    """Log of the learning rate."""

    logging_interval: Literal["step", "epoch"] | None
    """How often it is logged; null: as often as the scheduler changes it."""
    log_momentum: bool
    """Whether the momentum is logged too."""
    log_weight_decay: bool
    """Whether the weight decay is logged too."""


class DeviceStatsSettings(PartSettings):
    """Log of the memory and load of the device at every step."""

    cpu_stats: bool | None
    """Whether the CPU is measured; null: where there is no accelerator."""


class TimerSettings(PartSettings):
    """Time limit of the training."""

    duration: Annotated[str, Field(pattern=r"^\d+:\d\d:\d\d:\d\d$")]
    """Days, hours, minutes and seconds after which the training stops, as in 00:12:00:00."""
    interval: Literal["step", "epoch"]
    """When the time is checked: after each step or after each epoch."""


class LearningRateFinderSettings(PartSettings):
    """Search for the learning rate before the training, with a figure, lr_finder.png."""

    min_lr: Annotated[float, Field(gt=0)]
    """Smallest learning rate that is tried."""
    max_lr: Annotated[float, Field(gt=0)]
    """Largest learning rate that is tried."""
    num_training_steps: Annotated[int, Field(ge=20)]
    """Number of learning rates that are tried, one step each; at most the steps of the training."""
    mode: Literal["exponential", "linear"]
    """How the learning rate grows from step to step."""


class ThroughputSettings(PartSettings):
    """Log of images and steps per second."""

    window_size: Annotated[int, Field(ge=2)]
    """Steps over which the rates are averaged."""


class GradientNoiseSettings(PartSettings):
    """Gradient noise scale: about the batch size from which on larger batches save few steps."""

    every_n_epochs: PositiveInt
    """Epochs from one measurement to the next."""
    batch_size: PositiveInt
    """Training images of each small batch."""
    images: Annotated[int, Field(ge=2)]
    """Training images of the large batch, which consists of the small ones."""

    @field_validator("images")
    @classmethod
    def _check_size(cls, images: int, info: ValidationInfo) -> int:
        if images < 2 * info.data.get("batch_size", 1):
            raise ValueError(f"got {images} with batch_size={info.data['batch_size']}; must be at least twice as many")
        return images


class SharpnessSettings(PartSettings):
    """Sharpness: the largest eigenvalue of the Hessian of the loss, and the rise of the loss within a ball."""

    every_n_epochs: PositiveInt
    """Epochs from one measurement to the next."""
    images: PositiveInt
    """Training images, the same in each measurement."""
    radius: Annotated[float, Field(gt=0, le=1000)]
    """Radius of the ball around the weights, rho of SAM."""
    tolerance: Annotated[float, Field(gt=0, lt=1)]
    """Relative accuracy of the eigenvalue."""


for _name, _target, _class in (
    ("f1", "MulticlassF1Score", AverageSettings),
    ("precision", "MulticlassPrecision", AverageSettings),
    ("recall", "MulticlassRecall", AverageSettings),
    ("auroc", "MulticlassAUROC", CurveSettings),
    ("average_precision", "MulticlassAveragePrecision", CurveSettings),
    ("top_k", "MulticlassAccuracy", TopKSettings),
    ("calibration_error", "MulticlassCalibrationError", CalibrationErrorSettings),
    ("matthews", "MulticlassMatthewsCorrCoef", MatthewsSettings),
):
    register_own("metric", _name, f"torchmetrics.classification:{_target}", _class)
register_own("callback", "lr_monitor", "lightning.pytorch.callbacks:LearningRateMonitor", LearningRateMonitorSettings)
register_own("callback", "device_stats", "lightning.pytorch.callbacks:DeviceStatsMonitor", DeviceStatsSettings)
register_own("callback", "timer", "lightning.pytorch.callbacks:Timer", TimerSettings)
register_own("callback", "throughput", "lenet_pl.engine.callbacks:build_throughput_monitor", ThroughputSettings)
register_own("callback", "lr_finder", "lenet_pl.engine.lr_finder:LearningRateFigure", LearningRateFinderSettings)
register_own("callback", "gradient_noise", "lenet_pl.engine.diagnostics:GradientNoise", GradientNoiseSettings)
register_own("callback", "sharpness", "lenet_pl.engine.diagnostics:Sharpness", SharpnessSettings)
