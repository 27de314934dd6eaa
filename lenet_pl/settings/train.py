"""Settings of the groups `trainer` and `logger`, and of a whole training."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, ValidationInfo, field_validator

from lenet_pl.settings.callbacks import CallbacksSettings
from lenet_pl.settings.data import AnyDataSettings, AugmentSettings, LoaderSettings
from lenet_pl.settings.extra_parts import (
    AnyCallbackSettings,
    AnyLoggerSettings,
    AnyMetricSettings,
    AnyTransformSettings,
    Plugins,
)
from lenet_pl.settings.model import AnyModelSettings, ConvNetSettings, LeNet1Settings
from lenet_pl.settings.optim import (
    AnyLossSettings,
    AnyOptimizerSettings,
    AnySchedulerSettings,
    LossSettings,
    SdlmSettings,
)
from lenet_pl.settings.roles import Role
from lenet_pl.settings.types import LocalPath, PositiveInt, Settings, Threads, cores

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]


def _check_compile(mode: bool | CompileMode | None) -> CompileMode | None:
    """Translate true and false to modes of torch.compile, so that both spellings give the same value."""
    return "default" if mode is True else mode or None


def _check_limit(limit: int | float) -> int | float:
    if limit >= 1 if isinstance(limit, int) else 0 < limit <= 1:
        return limit
    raise ValueError(f"got {limit}; must be a number of batches from 1, or a fraction greater than 0, up to 1.0")


Limit = Annotated[int | float, AfterValidator(_check_limit)]


class TrainerSettings(Settings):
    """Settings of the Trainer, with the meaning that `lightning.Trainer` gives them."""

    accelerator: Annotated[Literal["auto", "cpu", "gpu", "mps"], Role.MACHINE]
    """Kind of device."""
    devices: Annotated[PositiveInt, Role.MACHINE]
    """Number of devices, one process for each."""
    strategy: Annotated[Literal["auto", "ddp"], Role.MACHINE]
    """How several processes train together."""
    num_threads: Annotated[Threads, Role.MACHINE]
    """Intra-op threads; null: 1 for small networks, else as many as this process has cores."""
    precision: Annotated[Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"], Role.NUMERICS]
    """Floating-point precision of training."""
    compile: Annotated[bool | CompileMode | None, AfterValidator(_check_compile), Role.NUMERICS]
    """Mode of torch.compile; true: default, false or null: not compiled."""
    deterministic: bool
    """Whether the same seed gives the same bits on the same machine."""
    max_epochs: PositiveInt
    """Largest number of epochs."""
    gradient_clip_val: PositiveFloat | None
    """Largest norm of the whole gradient; null: not clipped."""
    log_every_n_steps: PositiveInt
    """Steps between two points of the per-step loss."""
    limit_train_batches: Limit | None
    """Training batches per epoch, a number or a fraction; null: all."""
    limit_val_batches: Annotated[Limit | None, Role.EVALUATION]
    """Validation batches per epoch, a number or a fraction; null: all."""
    limit_test_batches: Limit | None
    """Test batches, a number or a fraction; null: all."""
    profiler: Annotated[Literal["simple", "advanced"] | None, Role.MACHINE]
    """Lightning profiler that times the hooks."""

    @property
    def compile_mode(self) -> CompileMode | None:
        """The mode of torch.compile; None: not compiled."""
        return _check_compile(self.compile)

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, devices: int, info: ValidationInfo) -> int:
        # What `auto` stands for only torch knows, which is not imported yet; the trainer looks at it
        if info.data.get("accelerator") == "cpu" and devices > cores():
            raise ValueError(f"got {devices} processes on cpu; must be 1 to {cores()}, the cores of this machine")
        return devices


class LoggerSettings(Settings):
    """The loggers. metrics.csv and the plots are always written."""

    tensorboard: bool
    """Whether event files for TensorBoard are written."""
    csv: bool
    """Whether Lightning's CSV log is written."""


Level = Annotated[float, Field(ge=-1000, le=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TrainSettings(Settings):
    """Settings of `python -m lenet_pl.train`."""

    run: Annotated[LocalPath, Role.COMMAND]
    """Run folder, which receives everything."""
    resume: Annotated[bool | Literal["auto"], Role.COMMAND]
    """Whether the run in the folder is continued; auto: or started."""
    seed: Annotated[Seed, Role.SEED]
    """Seed of initial weights, batch order, augmentation and dropout; never of the split."""
    seeds: Annotated[Annotated[list[Seed], Field(min_length=1)] | None, Role.SEED]
    """Seeds of several trainings, one after another, instead of `seed`."""
    train: Annotated[bool, Role.STAGE]
    """Whether the network is trained."""
    test: Annotated[bool, Role.STAGE]
    """Whether the network is tested."""
    traceback: Annotated[bool, Role.COMMAND]
    """Whether errors show where in the code they arose."""
    data_root: Annotated[LocalPath, Role.LOCATION]
    """Folder in which data sets are looked for and downloaded to."""
    data: AnyDataSettings
    """Data set."""
    loader: LoaderSettings
    """Batches."""
    augment: AugmentSettings
    """Random transforms of the training images."""
    input_range: Annotated[list[Level], Field(min_length=2, max_length=2)] | None
    """Inputs of gray levels 0 and 255; null: mean 0 and standard deviation 1."""
    model: AnyModelSettings
    """Network."""
    loss: AnyLossSettings
    """Loss."""
    optimizer: AnyOptimizerSettings
    """Optimizer."""
    scheduler: AnySchedulerSettings
    """Learning rate schedule."""
    trainer: TrainerSettings
    """Device, precision and length of training."""
    callbacks: CallbacksSettings
    """Early stopping, checkpoints, EMA and display."""
    logger: Annotated[LoggerSettings, Role.OUTPUT]
    """Loggers."""
    transforms: dict[str, AnyTransformSettings]
    """Transforms of training batches after `augment`, by name and in this order."""
    metrics: Annotated[dict[str, AnyMetricSettings], Role.OUTPUT]
    """Metrics of validation and test besides loss and accuracy, by name."""
    extra_callbacks: dict[str, AnyCallbackSettings]
    """Lightning callbacks besides those of `callbacks`, by name and in this order."""
    extra_loggers: Annotated[dict[str, AnyLoggerSettings], Role.OUTPUT]
    """Loggers besides those of `logger`, by name."""
    plugins: Annotated[Plugins, Role.COMMAND]
    """Modules that register further parts; a run records those that it uses."""

    @field_validator("test")
    @classmethod
    def _check_test(cls, test: bool, info: ValidationInfo) -> bool:
        if not test and info.data.get("train") is False:
            raise ValueError("got false with train=false, which leaves nothing to do; one of them must be true")
        return test

    @field_validator("input_range")
    @classmethod
    def _check_input_range(cls, levels: list[float] | None) -> list[float] | None:
        if levels and abs(levels[0] - levels[1]) < 1e-3:
            raise ValueError(f"got {levels}; must be null, or two numbers that differ by at least 0.001")
        return levels

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, loss: AnyLossSettings, info: ValidationInfo) -> AnyLossSettings:
        if loss.name == "mle" and isinstance(info.data.get("model"), ConvNetSettings | LeNet1Settings):
            raise ValueError(
                "got name=mle, which is unbounded below unless the outputs are distances; must be "
                "cross_entropy or map, or model=lenet5_1998"
            )
        return loss

    @field_validator("optimizer")
    @classmethod
    def _check_optimizer(cls, optimizer: AnyOptimizerSettings, info: ValidationInfo) -> AnyOptimizerSettings:
        model, loss = info.data.get("model"), info.data.get("loss")
        if not isinstance(optimizer, SdlmSettings):
            return optimizer
        if isinstance(model, ConvNetSettings) and "batch_norm" in (model.norm, model.hidden_norm):
            key = "model.norm" if model.norm == "batch_norm" else "model.hidden_norm"
            raise ValueError(
                f"got sdlm, which does not support batch normalization; use another optimizer, or {key}=none"
            )
        if loss and not isinstance(loss, LossSettings):
            raise ValueError(f"got sdlm, which does not support loss={loss.name}; use another optimizer or loss")
        if loss and loss.class_weights:
            raise ValueError(
                "got sdlm, which does not support class weights; use another optimizer, or loss.class_weights=null"
            )
        return optimizer

    @field_validator("scheduler")
    @classmethod
    def _check_scheduler(cls, scheduler: AnySchedulerSettings, info: ValidationInfo) -> AnySchedulerSettings:
        optimizer = info.data.get("optimizer")
        if getattr(scheduler, "cycle_momentum", False) and optimizer and optimizer.name == "sdlm":
            raise ValueError("cycle_momentum: got true with optimizer=sdlm, which has no momentum; must be false")
        return scheduler

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds and (twice := [seed for seed, count in Counter(seeds).items() if count > 1]):
            raise ValueError(f"got {twice[0]} twice; must be a list of different seeds")
        return seeds
