"""Settings of a whole training."""

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lenet_pl.settings.augment import AugmentSettings
from lenet_pl.settings.callbacks import CallbacksSettings
from lenet_pl.settings.cross_validation import Folds, FoldsGroup, check_folds
from lenet_pl.settings.data import AnyDataSettings, LoaderSettings
from lenet_pl.settings.distillation import DistillationSettings, Teacher, TeacherDigests
from lenet_pl.settings.extra_parts import (
    AnyCallbackSettings,
    AnyLoggerSettings,
    AnyMetricSettings,
    AnyTransformSettings,
    Plugins,
)
from lenet_pl.settings.fine_tune import LayerDecay, Layers, ResetHead, Sha256, UnfreezeAfter
from lenet_pl.settings.input_range import InputRange, channel_ranges
from lenet_pl.settings.logger import LoggerSettings, Tags
from lenet_pl.settings.model import AnyModelSettings, ConvNetSettings, LeNet1Settings
from lenet_pl.settings.optim import (
    AnyLossSettings,
    AnyOptimizerSettings,
    LossSettings,
    ScheduleFreeAdamWSettings,
    ScheduleFreeSgdSettings,
    SdlmSettings,
)
from lenet_pl.settings.roles import Role
from lenet_pl.settings.schedule import AnySchedulerSettings
from lenet_pl.settings.trainer import TrainerSettings
from lenet_pl.settings.types import LocalPath, PositiveInt, Report, Settings

Seed = Annotated[int, Field(ge=0, lt=2**32)]


class TrainSettings(Settings):
    """Settings of `python -m lenet_pl.train`."""

    run: Annotated[LocalPath, Role.COMMAND]
    """Run folder, which receives everything."""
    resume: Annotated[bool | Literal["auto"], Role.COMMAND]
    """Whether the run in the folder is continued; auto: continued if there is one, else started."""
    seed: Annotated[Seed, Role.SEED]
    """Seed of initial weights, batch order, augmentation and dropout; never of the split."""
    seeds: Annotated[Annotated[list[Seed], Field(min_length=1)] | None, Role.SEED]
    """Seeds of several trainings, instead of `seed`."""
    folds: Annotated[Folds, Role.EVALUATION]
    """Number of folds of a cross-validation, one training for each; null: the test split of the data."""
    folds_group: Annotated[FoldsGroup, Role.EVALUATION]
    """Groups of images that stay in one fold: text before which their file names agree, or a file of `data=arrays`."""
    n_jobs: Annotated[PositiveInt, Role.COMMAND]
    """Number of trainings of `seeds` or `folds` at once, each in a process of its own; their images are shared."""
    train: Annotated[bool, Role.STAGE]
    """Whether the network is trained."""
    test: Annotated[bool, Role.STAGE]
    """Whether the network is tested."""
    traceback: Annotated[bool, Role.COMMAND]
    """Whether errors show where in the code they arose."""
    tags: Annotated[Tags, Role.OUTPUT]
    """Tags of the run, each a word or <name>:<value>, for loggers and results.json."""
    notes: Annotated[Annotated[str, Field(min_length=1, max_length=2000)] | None, Role.OUTPUT]
    """Description of the run, for loggers."""
    report: Annotated[Report, Role.OUTPUT]
    """Figures: full: all, light: learning curves and confusion matrix, none: no figures and no report.html."""
    data_root: Annotated[LocalPath, Role.LOCATION]
    """Folder in which datasets are looked for and downloaded to."""
    data: AnyDataSettings
    """Dataset."""
    loader: LoaderSettings
    """Batches."""
    augment: AugmentSettings
    """Random transforms of the training images."""
    input_range: InputRange | None
    """Network inputs for levels 0 and 255, for all channels or each; null: mean 0 and standard deviation 1."""
    model: AnyModelSettings
    """Network."""
    init_from: LocalPath | None
    """Run folder, checkpoint or safetensors file whose weights are the initial ones; null: random weights."""
    init_from_sha256: Sha256
    """Digest that this file must have; null: any. A run records the digest of the file it used."""
    reset_head: ResetHead
    """Whether the last layer gets random weights; null: if the classes of the data and of `init_from` differ."""
    freeze: list[Layers]
    """Names or patterns of the layers that are not trained, such as `features` or `*.norm*`."""
    unfreeze_after: UnfreezeAfter
    """Epochs after which the frozen layers are trained too; null: never."""
    layer_decay: LayerDecay
    """Factor of the learning rate from each layer to the one before it, or a mapping of layers to factors."""
    teacher: Teacher
    """Run folder or checkpoint of a trained network whose outputs are learned, too, or a list of them; null: none."""
    teacher_sha256: TeacherDigests
    """Digests that these checkpoints must have; null: any. A run records the digests of those it used."""
    distillation: DistillationSettings
    """Temperature and weight of the loss between the outputs of teacher and student."""
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
    def _check_input_range(cls, levels: InputRange | None) -> InputRange | None:
        for low, high in channel_ranges(levels or []):
            if abs(low - high) < 1e-3:
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
        averaging = isinstance(optimizer, ScheduleFreeAdamWSettings | ScheduleFreeSgdSettings)
        if averaging and isinstance(model, ConvNetSettings) and "batch_norm" in (model.norm, model.hidden_norm):
            key = "model.norm" if model.norm == "batch_norm" else "model.hidden_norm"
            raise ValueError(
                f"got {optimizer.name}, which does not support batch normalization, whose statistics are those of the "
                f"trained weights, not of the averaged ones; use another optimizer, or {key}=layer_norm"
            )
        if not isinstance(optimizer, SdlmSettings):
            return optimizer
        if info.data.get("teacher") is not None:
            raise ValueError("got sdlm, which does not support a teacher; use another optimizer, or teacher=null")
        if isinstance(model, ConvNetSettings) and {model.norm, model.hidden_norm} != {"none"}:
            key, name = ("model.norm", model.norm) if model.norm != "none" else ("model.hidden_norm", model.hidden_norm)
            kind = name.replace("_norm", " normalization")
            raise ValueError(f"got sdlm, which does not support {kind}; use another optimizer, or {key}=none")
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
        without = {"sdlm": "no momentum", "muon": "two kinds of momentum"}
        if getattr(scheduler, "cycle_momentum", False) and optimizer and optimizer.name in without:
            why = f"optimizer={optimizer.name}, which has {without[optimizer.name]}"
            raise ValueError(f"cycle_momentum: got true with {why}; must be false")
        return scheduler

    @field_validator("trainer")
    @classmethod
    def _check_warm_up(cls, trainer: TrainerSettings, info: ValidationInfo) -> TrainerSettings:
        warm_up = getattr(info.data.get("scheduler"), "warmup_epochs", 0)
        if warm_up and warm_up >= trainer.max_epochs:
            raise ValueError(
                f"max_epochs: got {trainer.max_epochs} with scheduler.warmup_epochs={warm_up:g}; must be greater"
            )
        return trainer

    @field_validator("callbacks")
    @classmethod
    def _check_average(cls, callbacks: CallbacksSettings, info: ValidationInfo) -> CallbacksSettings:
        optimizer = info.data.get("optimizer")
        averaging = isinstance(optimizer, ScheduleFreeAdamWSettings | ScheduleFreeSgdSettings)
        for key, value in (("ema.decay", callbacks.ema.decay), ("swa.start", callbacks.swa.start)):
            if optimizer and averaging and value is not None:
                raise ValueError(
                    f"{key}: got {value} with optimizer={optimizer.name}, which averages the weights itself; must be "
                    "null"
                )
        trainer = info.data.get("trainer")
        first = callbacks.swa.first_epoch(trainer.max_epochs) if trainer else None
        if trainer and first is not None and first >= trainer.max_epochs:
            raise ValueError(
                f"swa.start: got {first} with trainer.max_epochs={trainer.max_epochs}; must be less, or null"
            )
        return callbacks

    @field_validator("data")
    @classmethod
    def _check_folds(cls, data: AnyDataSettings, info: ValidationInfo) -> AnyDataSettings:
        check_folds(data, info.data.get("folds"), info.data.get("folds_group"))
        return data

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds and (twice := [seed for seed, count in Counter(seeds).items() if count > 1]):
            raise ValueError(f"got {twice[0]} twice; must be a list of different seeds")
        return seeds
