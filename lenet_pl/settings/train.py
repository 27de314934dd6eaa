"""Settings of the groups `trainer`, `callbacks` and `logger`, and of a whole training."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lenet_pl.settings.data import AnyDataSettings, AugmentSettings, LoaderSettings
from lenet_pl.settings.learning import AnyOptimizerSettings, AnySchedulerSettings, LossSettings, SdlmSettings
from lenet_pl.settings.model import AnyModelSettings, ConvNetSettings, LeNet1Settings
from lenet_pl.settings.types import Count, LocalPath, Metric, NotNegative, Positive, Settings, Threads, cores


class TrainerSettings(Settings):
    """Where and how long; keys have the meaning that `lightning.Trainer` gives them."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    strategy: Literal["auto", "ddp"]
    threads: Threads
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None  # mode of torch.compile
    deterministic: bool
    max_epochs: Count
    gradient_clip_norm: Positive | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None  # of the average of the weights
    log_every_n_steps: Count
    limit_train_batches: Count | None  # per epoch
    limit_val_batches: Count | None
    limit_test_batches: Count | None
    profiler: Literal["simple", "advanced"] | None

    @field_validator("devices")
    @classmethod
    def _processes_have_a_core_each(cls, devices: int, info: ValidationInfo) -> int:
        # What `auto` stands for only torch knows, which is not imported yet; the trainer looks at it
        if info.data.get("accelerator") == "cpu" and devices > cores():
            raise ValueError(f"got {devices} processes on cpu; accepted is 1 to {cores()}, the cores of this machine")
        return devices


class EarlyStoppingSettings(Settings):
    """Stop after `patience` epochs in which `monitor` did not improve by more than `min_delta`."""

    monitor: Metric
    patience: Count  # epochs
    min_delta: NotNegative


class CheckpointSettings(Settings):
    """The best epoch is the one with the best `monitor`; the last is kept too."""

    monitor: Metric


class CallbacksSettings(Settings):
    """What watches the training."""

    early_stopping: EarlyStoppingSettings | None
    checkpoint: CheckpointSettings
    progress_bar: bool
    model_summary: bool


class LoggerSettings(Settings):
    """Which loggers write into the run folder; metrics.csv and the pictures are always written."""

    tensorboard: bool
    csv: bool


Grey = Annotated[float, Field(ge=-1000, le=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TrainSettings(Settings):
    """Everything that `python -m lenet_pl.train` takes."""

    run: LocalPath  # folder that receives everything
    resume: bool | Literal["auto"]  # continue the run that is in the folder; auto: or begin it
    seed: Seed
    seeds: Annotated[list[Seed], Field(min_length=1)] | None  # train once with each of them, in one process
    vectorise: bool | Literal["auto"]  # with seeds: all networks in one step; auto: where that is faster
    train: bool
    test: bool
    traceback: bool  # show Python's traceback with an error
    data_root: LocalPath
    data: AnyDataSettings
    loader: LoaderSettings
    augment: AugmentSettings
    input_range: Annotated[list[Grey], Field(min_length=2, max_length=2)] | None  # of grey levels 0 and 255
    model: AnyModelSettings
    loss: LossSettings
    optimizer: AnyOptimizerSettings
    scheduler: AnySchedulerSettings
    trainer: TrainerSettings
    callbacks: CallbacksSettings
    logger: LoggerSettings

    @field_validator("test")
    @classmethod
    def _something_is_done(cls, test: bool, info: ValidationInfo) -> bool:
        if not test and info.data.get("train") is False:
            raise ValueError("got false beside train=false, which leaves nothing to do; accepted is one of them true")
        return test

    @field_validator("input_range")
    @classmethod
    def _black_is_not_white(cls, levels: list[float] | None) -> list[float] | None:
        if levels and abs(levels[0] - levels[1]) < 1e-3:
            raise ValueError(f"got {levels}; accepted is null, or two numbers that are 0.001 apart or more")
        return levels

    @field_validator("loss")
    @classmethod
    def _a_penalty_has_an_end(cls, loss: LossSettings, info: ValidationInfo) -> LossSettings:
        if loss.name == "penalty" and isinstance(info.data.get("model"), ConvNetSettings | LeNet1Settings):
            raise ValueError(
                "got name=penalty, which has no smallest value where outputs are no distances; accepted is "
                "cross_entropy or map, or model=lenet5_1998"
            )
        return loss

    @field_validator("optimizer")
    @classmethod
    def _curvature_is_known(cls, optimizer: AnyOptimizerSettings, info: ValidationInfo) -> AnyOptimizerSettings:
        model, loss = info.data.get("model"), info.data.get("loss")
        if not isinstance(optimizer, SdlmSettings):
            return optimizer
        if isinstance(model, ConvNetSettings) and "batch" in (model.norm, model.hidden_norm):
            key = "model.norm" if model.norm == "batch" else "model.hidden_norm"
            raise ValueError(f"got sdlm, which cannot take batch normalisation; accepted is another, or {key}=none")
        if loss and loss.class_weights:
            raise ValueError("got sdlm, which knows no class weights; accepted is another, or loss.class_weights=null")
        return optimizer

    @field_validator("scheduler")
    @classmethod
    def _momentum_can_be_cycled(cls, scheduler: AnySchedulerSettings, info: ValidationInfo) -> AnySchedulerSettings:
        optimizer = info.data.get("optimizer")
        if getattr(scheduler, "cycle_momentum", False) and optimizer and optimizer.name == "sdlm":
            raise ValueError("cycle_momentum: got true with optimizer=sdlm, which has no momentum; accepted is false")
        return scheduler

    @field_validator("seeds")
    @classmethod
    def _no_seed_twice(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds and (twice := [seed for seed, count in Counter(seeds).items() if count > 1]):
            raise ValueError(f"got {twice[0]} twice; accepted is a list of different seeds")
        return seeds
