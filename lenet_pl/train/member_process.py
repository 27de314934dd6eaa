"""The process of one of several trainings that run at once."""

import os
import pickle
import shutil
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from lenet_pl.cli.error_messages import format_error
from lenet_pl.cli.subprocess_job import enter_subprocess
from lenet_pl.engine.build import build_datamodule
from lenet_pl.engine.callbacks import for_each
from lenet_pl.engine.trainer import ranked, silence_lightning_logs
from lenet_pl.errors import UserError
from lenet_pl.plugins.loading import load_plugins
from lenet_pl.runtime.environment import COMMAND_ENV
from lenet_pl.runtime.memory import tune_malloc
from lenet_pl.runtime.shared_tensors import loads
from lenet_pl.runtime.signals import Interruption, SignalHandler
from lenet_pl.settings import TrainSettings, validate
from lenet_pl.train.member import build_member

LOG = "log.txt"  # in the run folder: the output of the process


@dataclass(frozen=True)
class MemberJob:
    """What a process needs to train.

    Attributes:
        train_one: The function that trains once: `lenet_pl.train.train_one`.
        folder: The run folder.
        values: The settings as plain values, since classes of plug-ins exist only where these are loaded.
        plugins: The plug-ins to load.
        command: The command line to be recorded in results.json.
        threads: The largest number of intra-op threads, unless the settings give one.
        data: The loaded data, or None to load them, and the initial weights, as `TensorFile.dumps` returned them.
        tensors: The file with the tensors of `data`.
        callbacks: The pickled callbacks of the caller, or their function.
    """

    train_one: Callable[..., dict[str, Any]]
    folder: Path
    values: dict[str, Any]
    plugins: Sequence[str]
    command: str
    threads: int
    data: bytes
    tensors: Path
    callbacks: bytes


def train_member(job: MemberJob, answer: Connection) -> None:
    """Train in this new process, and send None, or the error or the interruption that ended the training."""
    ended: UserError | None = None
    try:
        with SignalHandler() as signals:
            enter_subprocess(job.folder / LOG)
            _train(job, signals)
    except Exception as error:
        if job.values.get("traceback"):
            traceback.print_exception(error)
        ended = error if isinstance(error, UserError) else UserError(format_error(error, "train"))
    except Interruption as interruption:
        ended = UserError(f"{interruption}; use resume=auto to train it further")
    try:
        answer.send(ended)
    except OSError:  # the parent was killed, and cannot remove the file
        shutil.rmtree(job.tensors.parent, ignore_errors=True)


def _train(job: MemberJob, signals: SignalHandler) -> None:
    os.environ[COMMAND_ENV] = job.command
    load_plugins(job.plugins)
    settings = validate(TrainSettings, job.values)
    silence_lightning_logs()
    tune_malloc()
    torch.set_num_threads(min(torch.get_num_threads(), job.threads))
    [(loaded, initial)] = loads(job.tensors, job.data)
    data = build_datamodule(settings, initial=initial, loaded=loaded)
    with ranked(0):
        callbacks = for_each(pickle.loads(job.callbacks))
        job.train_one(settings, job.folder, signals, callbacks, partial(build_member, data, initial))
