"""The process of a training of the lab: the ordinary `train` with one more callback."""

import os
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lenet_pl.cli.error_messages import format_error
from lenet_pl.cli.subprocess_job import enter_subprocess
from lenet_pl.errors import UserError
from lenet_pl.lab.watch import Watch
from lenet_pl.runtime.environment import COMMAND_ENV
from lenet_pl.runtime.signals import Interruption, SignalHandler
from lenet_pl.settings import TrainSettings, validate
from lenet_pl.train import train

LOG = "log.txt"  # in the run folder: the output of the process


@dataclass(frozen=True)
class LabJob:
    """What a process needs to train.

    Attributes:
        folder: The run folder.
        values: The settings as plain values.
        command: The command line to be recorded in results.json.
        snapshots: The folder for the checkpoints that are kept for rewinding.
        paused: Whether it waits before the first step.
    """

    folder: Path
    values: dict[str, Any]
    command: str
    snapshots: Path
    paused: bool


def train_in_lab(job: LabJob, connection: Connection) -> None:
    """Train in this new process. Its last message has the kind `end`, a `status` and an `error` line or None."""
    status, error = "finished", None
    with SignalHandler():  # of the time before and after `train`, which has one of its own
        enter_subprocess(job.folder / LOG)
        os.environ[COMMAND_ENV] = job.command
        try:
            settings = validate(TrainSettings, job.values)
            train(settings, job.folder, [Watch(connection, job.folder, job.snapshots, paused=job.paused)])
        except Interruption:
            status = "stopped"
        except Exception as problem:
            if not isinstance(problem, UserError):
                traceback.print_exception(problem)
            status, error = "failed", format_error(problem, "train")
    try:
        connection.send({"kind": "end", "status": status, "error": error})
    except OSError:  # the server has ended
        return
