"""Build the loggers of the settings, and open and close their runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from lenet_pl.engine.loggers.interface import End, run_loggers
from lenet_pl.engine.loggers.tensorboard_csv import CsvRun, TensorBoardRun
from lenet_pl.engine.loggers.tracker import LoggerRun, label_of, read_records
from lenet_pl.engine.plugin_parts import build_extra_loggers
from lenet_pl.errors import SettingError
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import LoggerSettings, TrainSettings


def build_loggers(settings: TrainSettings, folder: Path) -> list[Logger]:
    """Build the loggers of the settings.

    A resumed run gets new files of TensorBoard and the CSV log, and continues the runs of MLflow and Weights & Biases.
    """
    given, loggers = settings.logger, list[Logger]()
    if given.tensorboard:
        loggers.append(TensorBoardRun(folder, name=None, version="tensorboard", default_hp_metric=False))
    if given.csv:
        earlier = len(list(folder.glob("csv*")))
        version = f"csv_{earlier + 1}" if earlier else "csv"  # Lightning would delete the existing files
        loggers.append(CsvRun(folder, name=None, version=version))
    if given.mlflow or given.wandb:  # packages of an extra, which take seconds to import
        records, label = read_records(folder), label_of(settings, folder)
    if given.mlflow:
        from lenet_pl.engine.loggers.mlflow_logger import MlflowRun

        loggers.append(MlflowRun(folder, given.mlflow, label, records.get(MlflowRun.product, LoggerRun())))
    if given.wandb:
        from lenet_pl.engine.loggers.wandb_logger import WandbRun

        loggers.append(WandbRun(folder, given.wandb, label, records.get(WandbRun.product, LoggerRun())))
    return loggers + build_extra_loggers(settings, folder)


def check_loggers(given: LoggerSettings, *folders: Path) -> None:
    """Check that the loggers can be used, before anything is written.

    Args:
        given: The settings of the loggers.
        folders: The run folders of the command.

    Raises:
        SettingError: A package is missing, a server does not answer, or it does not know a run that is resumed.
        DataError: The record of logger runs in a folder is corrupt.
    """
    for package in ("mlflow", "wandb"):
        if getattr(given, package) and not find_spec(package):
            raise SettingError(f"logger.{package}: needs the package {package}; pip install 'lenet_pl[{package}]'")
    records = [read_records(folder) for folder in folders] if given.mlflow or given.wandb else []
    if given.mlflow:
        from lenet_pl.engine.loggers.mlflow_logger import MlflowRun, check_mlflow

        for record in records:
            check_mlflow(given.mlflow, record.get(MlflowRun.product))
    if given.wandb:
        from lenet_pl.engine.loggers.wandb_logger import check_wandb

        check_wandb(given.wandb)


def tensorboard_loggers(loggers: Sequence[Logger]) -> list[TensorBoardRun]:
    """Select the TensorBoard loggers."""
    return [logger for logger in loggers if isinstance(logger, TensorBoardRun)]


@contextmanager
def closing_loggers(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close the logger runs at the end, marked as finished, failed or interrupted."""
    end: End = "failed"
    try:
        yield
        end = "finished"
    except (Interruption, KeyboardInterrupt):
        end = "interrupted"
        raise
    finally:
        for logger in run_loggers(loggers):
            logger.close(end)


class FlushLoggers(Callback):
    """Write the points of each epoch before its checkpoint, since a resumed run does not repeat the epoch."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        for logger in run_loggers(trainer.loggers):
            logger.flush()
