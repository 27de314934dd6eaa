"""Settings of the groups `trainer`, `callbacks` and `logger`, and of a whole training."""

from typing import Annotated, Literal

from pydantic import Field

from lenet_pl.settings.data import AnyDataSettings, AugmentSettings, LoaderSettings
from lenet_pl.settings.learning import AnyOptimizerSettings, AnySchedulerSettings, LossSettings
from lenet_pl.settings.model import ConvNetSettings
from lenet_pl.settings.types import Count, Metric, NotNegative, Positive, Settings


class TrainerSettings(Settings):
    """Where and how long; keys have the meaning that `lightning.Trainer` gives them."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: Count
    strategy: Literal["auto", "ddp"]
    threads: Count | None  # intra-op threads; null: as many as torch finds
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None  # mode of torch.compile
    deterministic: bool
    max_epochs: Count
    gradient_clip_norm: Positive | None
    log_every_n_steps: Count
    limit_train_batches: Count | None  # per epoch
    limit_val_batches: Count | None
    limit_test_batches: Count | None
    profiler: Literal["simple", "advanced"] | None


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


class TrainSettings(Settings):
    """Everything that `python -m lenet_pl.train` takes."""

    run: Annotated[str, Field(min_length=1)]  # folder that receives everything
    resume: bool | Literal["auto"]  # continue the run that is in the folder; auto: or begin it
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    train: bool
    test: bool
    traceback: bool  # show Python's traceback with an error
    data_root: str
    data: AnyDataSettings
    loader: LoaderSettings
    augment: AugmentSettings
    model: ConvNetSettings
    loss: LossSettings
    optimizer: AnyOptimizerSettings
    scheduler: AnySchedulerSettings
    trainer: TrainerSettings
    callbacks: CallbacksSettings
    logger: LoggerSettings
