"""Build Lightning's Trainer from settings: device, precision, callbacks and loggers."""

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

from lenet_pl.engine.checkpoint import AtomicCheckpointIO
from lenet_pl.engine.checkpoint_callbacks import BestCheckpoint, LastCheckpoint
from lenet_pl.engine.complete_epochs import CompleteEpochs
from lenet_pl.engine.device import check_device, choose_precision
from lenet_pl.engine.divergence import DivergenceCheck
from lenet_pl.engine.early_stopping import ResumableEarlyStopping, StopAtMaxSteps
from lenet_pl.engine.estimate_curvature import EstimateCurvature
from lenet_pl.engine.freeze import FreezeLayers
from lenet_pl.engine.loggers.build import FlushLoggers, build_loggers
from lenet_pl.engine.lr_changes import LrChanges
from lenet_pl.engine.metrics_history import MetricsHistory
from lenet_pl.engine.plugin_parts import build_extra_callbacks
from lenet_pl.engine.progress_bar import ProgressBar
from lenet_pl.engine.schedule_free import ScheduleFreeModes
from lenet_pl.engine.steps_per_hook import choose_steps_per_hook
from lenet_pl.errors import UserError
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import ScheduleFreeAdamWSettings, ScheduleFreeSgdSettings, SdlmSettings, TrainSettings
from lenet_pl.settings.metric_mode import metric_mode


class MeetingError(UserError):
    """The processes of a distributed run cannot connect."""


def build_trainer(
    settings: TrainSettings,
    folder: Path,
    callbacks: Sequence[Callback] = (),
    signals: SignalHandler | None = None,
) -> lightning.Trainer:
    """Build the Trainer of a run.

    Args:
        settings: The training settings.
        folder: The run folder, for checkpoints, metrics and logs.
        callbacks: Callbacks in addition to those of the settings. They run before the checkpoints are written.
        signals: The signal handler of the process; None for one that handles no signals.

    Raises:
        SettingError: The requested device is not available.
    """
    given = settings.trainer
    check_device(given)
    automatic = choose_steps_per_hook(settings, callbacks) == 1
    recorder, *others = build_callbacks(settings, folder, signals or SignalHandler())
    kept = not given.fast_dev_run
    if automatic:  # the fast path has its own check and gradient clipping
        others.insert(0, DivergenceCheck())
    return lightning.Trainer(
        accelerator=given.accelerator,
        devices=given.devices,
        strategy=given.strategy if given.num_devices > 1 else "auto",  # one process needs no DDP
        precision=choose_precision(given),
        deterministic=given.deterministic,
        benchmark=given.benchmark,
        detect_anomaly=given.detect_anomaly,
        max_epochs=given.max_epochs,
        min_epochs=given.min_epochs,
        max_steps=given.max_steps,
        min_steps=given.min_steps,
        max_time=given.max_time,
        accumulate_grad_batches=given.accumulate_grad_batches,
        gradient_clip_val=given.gradient_clip_val if automatic else None,
        gradient_clip_algorithm=given.gradient_clip_algorithm if automatic else None,
        log_every_n_steps=given.log_every_n_steps,
        limit_train_batches=given.limit_train_batches,
        limit_val_batches=given.limit_val_batches,
        limit_test_batches=given.limit_test_batches,
        overfit_batches=given.overfit_batches,
        check_val_every_n_epoch=given.check_val_every_n_epoch,
        val_check_interval=given.val_check_interval,
        fast_dev_run=given.fast_dev_run,
        profiler=given.profiler,
        callbacks=[
            CompleteEpochs(),
            recorder,
            FlushLoggers(),
            *callbacks,
            *build_extra_callbacks(settings, folder),
            *others,
        ],
        logger=build_loggers(settings, folder) if kept else False,
        # An explicit environment disables Lightning's detection; it reads the variables that `own_variables` sets
        plugins=[AtomicCheckpointIO(), LightningEnvironment()],
        default_root_dir=folder,
        enable_progress_bar=settings.callbacks.progress_bar,
        enable_model_summary=False,  # `RunFolder` prints its own
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # BatchLoader splits each batch among the ranks
    )


def build_callbacks(settings: TrainSettings, folder: Path, signals: SignalHandler) -> list[Callback]:
    """Build the callbacks of the settings. `MetricsHistory` comes first, since checkpoints contain its rows."""
    given = settings.callbacks
    callbacks: list[Callback] = [MetricsHistory(folder, settings.trainer.log_every_n_steps)]
    if settings.freeze:
        callbacks.append(FreezeLayers(settings.freeze, settings.unfreeze_after))
    if isinstance(settings.optimizer, SdlmSettings):
        callbacks.append(EstimateCurvature(settings.optimizer.curvature_samples))
    if isinstance(settings.optimizer, ScheduleFreeAdamWSettings | ScheduleFreeSgdSettings):
        callbacks.append(ScheduleFreeModes())
    averaged = given.swa.first_epoch(settings.trainer.max_epochs)
    if averaged is not None:
        from lenet_pl.engine.average_epochs import AverageEpochs

        callbacks.append(AverageEpochs(averaged))
    # A validation metric is only new after a validation
    checked = settings.trainer.check_val_every_n_epoch == 1 and settings.trainer.val_check_interval == 1.0
    if given.early_stopping:
        stopping = given.early_stopping
        callbacks.append(
            ResumableEarlyStopping(
                stopping.monitor,
                min_delta=stopping.min_delta,
                patience=stopping.patience,
                mode=metric_mode(stopping.monitor),
                check_on_train_epoch_end=checked or stopping.monitor.startswith("train"),
            )
        )
    if settings.trainer.max_steps > 0:
        callbacks.append(StopAtMaxSteps())
    monitor = given.checkpoint.monitor
    checkpoints: list[Callback] = [
        BestCheckpoint(
            folder / "checkpoints",
            filename="best",
            monitor=monitor,
            mode=metric_mode(monitor),
            save_on_train_epoch_end=checked or monitor.startswith("train"),
            enable_version_counter=False,
        ),
        LastCheckpoint(folder / "checkpoints" / "last.ckpt", signals),
    ]
    callbacks += [] if settings.trainer.fast_dev_run else [LrChanges(folder, signals), *checkpoints]
    if given.progress_bar:
        callbacks.append(ProgressBar())
    return callbacks


@contextmanager
def ranked(rank: int) -> Iterator[None]:
    """Set the rank that Lightning's loggers and messages use; at import it is taken from environment variables.

    Args:
        rank: The rank of this process, from 0.
    """
    place: Any = rank_zero_only  # a function with the rank as an attribute
    before, place.rank = place.rank, rank
    try:
        yield
    finally:
        place.rank = before


@contextmanager
def meeting_others() -> Iterator[None]:
    """Turn a failed connection between the processes of a run into a one-line error.

    Raises:
        MeetingError: The port was taken in the meantime, or a process does not respond.
    """
    try:
        yield
    except RuntimeError as error:
        if torch.distributed.is_initialized() or not isinstance(error, torch.distributed.DistError):
            raise
        place = f"{os.environ.get('MASTER_ADDR')}, port {os.environ.get('MASTER_PORT')}"
        why = next(iter(str(error).splitlines()), "")
        raise MeetingError(f"trainer.devices: the processes cannot connect at {place}; try again ({why})") from error


def silence_lightning_logs() -> None:
    """Silence Lightning's info messages, and those of its warnings that a user cannot act on."""
    speakers = ("pytorch.utilities.rank_zero", "pytorch.accelerators.cuda", "fabric.utilities.rank_zero")
    for name in (*speakers, "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r"It is recommended to use `self\.log\('step'")  # it is the same on all ranks
    warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\).*is deprecated")  # Lightning 2.6, torch 2.15
    warnings.filterwarnings("ignore", r"The number of training batches .* is smaller than the logging interval")
    warnings.filterwarnings("ignore", r"GPU available but not used")  # trainer.accelerator=cpu was asked for
    warnings.filterwarnings("ignore", r"The `srun` command is available")  # having SLURM does not mean using it
    # After a resume at the end of an epoch, the steps were taken in the earlier process
    warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler\.step\(\)` before `optimizer\.step\(\)`")
    # ckpt_path="best" uses the first ModelCheckpoint, which is BestCheckpoint
    warnings.filterwarnings("ignore", r".*is called with Trainer configured with multiple `ModelCheckpoint` callbacks")
    # Of the fast path, which `engine/chunked.py` describes
    warnings.filterwarnings("ignore", r"Found `dataloader_iter` argument in the `training_step`")
    warnings.filterwarnings("ignore", r"You are using the `dataloader_iter` step flavor")
    warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")
