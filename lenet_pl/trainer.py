"""Lightning's Trainer from settings: device, callbacks and loggers, checked before anything long happens."""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from lenet_pl.callbacks import (
    BestCheckpoint,
    CurvatureEstimation,
    EpochRecorder,
    LastCheckpoint,
    ProgressBar,
    ResumableStopping,
)
from lenet_pl.checkpoint import AtomicCheckpointIO
from lenet_pl.errors import SettingError, UserError
from lenet_pl.interruption import Interruptible
from lenet_pl.loggers import RunBoard, RunTable
from lenet_pl.metric_mode import metric_mode
from lenet_pl.settings import SdlmSettings, TrainerSettings, TrainSettings


class MeetingError(UserError):
    """Processes of one run that do not find each other."""


def build_trainer(
    settings: TrainSettings,
    folder: Path,
    callbacks: Sequence[Callback] = (),
    interruptible: Interruptible | None = None,
) -> lightning.Trainer:
    """Build the Trainer of a run.

    Args:
        settings: of the run.
        folder: receives checkpoints, metrics and logs.
        callbacks: what watches the training beside what the settings ask for.
        interruptible: listens for signals.

    Raises:
        SettingError: the device that is asked for is not there.
    """
    given = settings.trainer
    check_device(given)
    recorder, *others = build_callbacks(settings, folder, interruptible or Interruptible())
    return lightning.Trainer(
        accelerator=given.accelerator,
        devices=given.devices,
        strategy=given.strategy if given.devices > 1 else "auto",  # one process has nobody to meet
        precision=choose_precision(given),
        deterministic=given.deterministic,
        max_epochs=given.max_epochs,
        log_every_n_steps=given.log_every_n_steps,
        limit_val_batches=given.limit_val_batches,
        limit_test_batches=given.limit_test_batches,
        profiler=given.profiler,
        callbacks=[recorder, *callbacks, *others],
        logger=build_loggers(settings, folder),
        # Named, so that Lightning looks for no other; this one reads what `own_variables` has set
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        default_root_dir=folder,
        enable_progress_bar=settings.callbacks.progress_bar,
        enable_model_summary=False,  # the run folder prints a clearer one
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # BatchLoader gives each rank its share
    )


def build_callbacks(settings: TrainSettings, folder: Path, interruptible: Interruptible) -> list[Callback]:
    """Build what watches the training. The recorder is first, as its figures are part of the checkpoints."""
    given = settings.callbacks
    callbacks: list[Callback] = [EpochRecorder(folder, settings.trainer.log_every_n_steps)]
    if isinstance(settings.optimizer, SdlmSettings):
        callbacks.append(CurvatureEstimation(settings.optimizer.samples))
    if given.early_stopping:
        stopping = given.early_stopping
        callbacks.append(
            ResumableStopping(
                stopping.monitor,
                min_delta=stopping.min_delta,
                patience=stopping.patience,
                mode=metric_mode(stopping.monitor),
                check_on_train_epoch_end=True,
            )
        )
    monitor = given.checkpoint.monitor
    callbacks += [
        BestCheckpoint(
            folder / "checkpoints",
            filename="best",
            monitor=monitor,
            mode=metric_mode(monitor),
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        ),
        LastCheckpoint(folder / "checkpoints" / "last.ckpt", interruptible),
    ]
    if given.progress_bar:
        callbacks.append(ProgressBar())
    return callbacks


def build_loggers(settings: TrainSettings, folder: Path) -> list[Logger]:
    """Build the loggers that were asked for; both write into the run folder, in a new file if a run is continued."""
    loggers: list[Logger] = []
    if settings.logger.tensorboard:
        loggers.append(RunBoard(folder, name=None, version="tensorboard", default_hp_metric=False))
    if settings.logger.csv:
        earlier = len(list(folder.glob("csv*")))
        version = f"csv_{earlier + 1}" if earlier else "csv"  # Lightning would delete what is there
        loggers.append(RunTable(folder, name=None, version=version))
    return loggers


def choose_precision(settings: TrainerSettings) -> Any:
    """Resolve `auto`: bf16-mixed on a CPU with instructions for it, where it is twice as fast as fp32; else fp32.

    The choice rests on what the device can do, never on a measurement of the moment, so that a run can be repeated.
    """
    if settings.precision != "auto":
        return settings.precision
    can: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch that is accepted
    native = any(can.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return "bf16-mixed" if native and device_kind(settings) == "cpu" else "32-true"


def device_kind(settings: TrainerSettings) -> str:
    """Say what `auto` stands for on this machine: gpu, mps or cpu."""
    if settings.accelerator != "auto":
        return settings.accelerator
    return "gpu" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(settings: TrainerSettings) -> None:
    """Raise SettingError if the machine lacks what the settings ask for, and say what it has."""
    gpus = torch.cuda.device_count()
    mps = torch.backends.mps.is_available()
    there = ["cpu"] + [f"gpu ({gpus})"] * bool(gpus) + ["mps"] * mps
    kind = device_kind(settings)
    if (kind == "gpu" and not gpus) or (kind == "mps" and not mps):
        raise SettingError(f"trainer.accelerator: {kind} is not on this machine; accepted are auto, {', '.join(there)}")
    limit = {"gpu": gpus, "mps": 1}.get(kind)
    if limit and settings.devices > limit:
        raise SettingError(f"trainer.devices: {settings.devices} asked for, this machine has {', '.join(there)}")
    if settings.precision == "16-mixed" and kind == "cpu":
        raise SettingError("trainer.precision: 16-mixed needs a gpu; accepted on cpu are 32-true, bf16-mixed, 64-true")


@contextmanager
def ranked(rank: int) -> Iterator[None]:
    """Let Lightning's loggers and messages be those of this rank; when imported it believed the environment."""
    place: Any = rank_zero_only  # a function that carries the rank
    before, place.rank = place.rank, rank
    try:
        yield
    finally:
        place.rank = before


@contextmanager
def meeting_others() -> Iterator[None]:
    """Say in one line that the processes of a run could not meet.

    Raises:
        MeetingError: the port that was free was taken meanwhile, or one of them does not answer.
    """
    try:
        yield
    except RuntimeError as error:
        if torch.distributed.is_initialized() or not isinstance(error, torch.distributed.DistError):
            raise
        place = f"{os.environ.get('MASTER_ADDR')}, port {os.environ.get('MASTER_PORT')}"
        why = next(iter(str(error).splitlines()), "")
        raise MeetingError(f"trainer.devices: the processes cannot meet at {place}; try again ({why})") from error


def quiet_lightning() -> None:
    """Leave out what Lightning says about itself; its warnings stay, but for those that no user can act on."""
    speakers = ("pytorch.utilities.rank_zero", "pytorch.accelerators.cuda", "fabric.utilities.rank_zero")
    for name in (*speakers, "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r"It is recommended to use `self\.log\('step'")  # it is the same on all ranks
    warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\).*is deprecated")  # Lightning 2.6, torch 2.15
    warnings.filterwarnings("ignore", r"The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", r"GPU available but not used")  # trainer.accelerator=cpu was asked for
    warnings.filterwarnings("ignore", r"The `srun` command is available")  # that a machine has SLURM is no reason
    # A run that is continued at the end of an epoch took its steps before
    warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`")
    # With ckpt_path="best" the first one is meant, which is BestCheckpoint
    warnings.filterwarnings("ignore", r".*is called with Trainer configured with multiple `ModelCheckpoint` callbacks")
    warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")
