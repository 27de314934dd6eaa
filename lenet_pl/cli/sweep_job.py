"""A job of a sweep, isolated in a subprocess so that it cannot stop or change another one."""

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lenet_pl.cli.error_messages import exit_code, format_error
from lenet_pl.cli.subprocess_job import run_in_subprocess
from lenet_pl.cli.sweep import SWEEP, Job, describe_result
from lenet_pl.config_files.folders import config_dir_option
from lenet_pl.display.text import prepare_output
from lenet_pl.errors import SettingError, printable
from lenet_pl.runtime.environment import COMMAND_ENV
from lenet_pl.runtime.launchers import started_as
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import TrainerSettings

BASIC = "basic"
HERE = (BASIC, "joblib")  # Hydra launchers that run jobs on this machine; others submit them to a cluster


def run_job(
    name: str,
    number: int,
    overrides: Sequence[str],
    folder: Path,
    resolve_settings: Callable[[], Any],
    main: Callable[[Any, Path], object],
    launcher: str,
) -> None:
    """Run one job and record its outcome.

    Args:
        name: Name of the command.
        number: Number of the job.
        overrides: Overrides of the job.
        folder: Run folder of the job.
        resolve_settings: Function that returns the settings to run with, or None if nothing is left to do.
        main: Function of the command, called with the settings and the run folder.
        launcher: Hydra launcher that calls this: basic (one job after another), joblib, or one of a cluster.

    Raises:
        Interruption: If a signal arrived. All other errors are recorded and printed.
    """
    prepare_output()  # joblib or a cluster may have started this process
    job = Job(os.environ.get(SWEEP, ""), number, list(overrides))
    task = None if launcher in HERE else started_as("srun")
    records = task is None or task.rank == 0  # a cluster may have started several tasks for this job
    if records:
        job.write(folder)
    start = time.perf_counter()
    try:
        own = [word for word in overrides if not word.startswith(("run=", "resume="))]
        place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        command = shlex.join(["python", "-m", f"lenet_pl.{name}", *config_dir_option(), f"run={place}", *own])
        job.state, job.reason, job.exit_code = _outcome(name, job, folder, command, resolve_settings, main, launcher)
    except Interruption as interruption:
        job.state, job.reason, job.exit_code = "interrupted", str(interruption), interruption.exit_code
        raise
    finally:
        job.seconds = round(time.perf_counter() - start, 2)
        if records:
            job.write(folder)
        if job.reason:
            print(f"error: job {number} ({printable(' '.join(overrides))}): {printable(job.reason)}", file=sys.stderr)
        elif launcher != BASIC:
            print(f"job {number}: {job.state}, {describe_result(folder)}, {job.seconds:.0f} s")


def _outcome(
    name: str,
    job: Job,
    folder: Path,
    command: str,
    resolve_settings: Callable[[], Any],
    main: Callable[[Any, Path], object],
    launcher: str,
) -> tuple[str, str | None, int]:
    """Run a job and return state, reason and exit code: here if a cluster has started it, else in a subprocess."""
    state = "refused"
    try:
        settings = resolve_settings()
        if settings is None:
            return "kept", None, 0
        refuse_dev_run(settings.trainer)
        refuse_devices(settings.trainer, launcher)
        state = "failed"
        if launcher not in HERE:
            os.environ[COMMAND_ENV] = command
            main(settings, folder)
            return "finished", None, 0
    except Exception as error:
        return state, format_error(error, name), exit_code(error)

    def started(pid: int) -> None:
        job.pid = pid
        job.write(folder)

    code, reason = run_in_subprocess(
        name, settings, folder, command, started, None if launcher == BASIC else folder / "log.txt"
    )
    if code == 0:
        return "finished", None, 0
    return "killed" if code < 0 else "failed", reason, 1 if code < 0 else code


def refuse_dev_run(settings: TrainerSettings) -> None:
    """Raise SettingError for a check that writes nothing, since a sweep is a table of what its jobs have written."""
    if settings.fast_dev_run:
        raise SettingError(f"trainer.fast_dev_run: got {settings.fast_dev_run} in a sweep; must be false")


def refuse_devices(settings: TrainerSettings, launcher: str) -> None:
    """Check that a job of a sweep has one process per device.

    On this machine a job cannot start further processes, since each would repeat the whole sweep. A cluster has
    already started all processes of a job.

    Raises:
        SettingError: If the number of processes differs from `trainer.devices`.
    """
    if launcher in HERE:
        if settings.num_devices > 1:
            raise SettingError(
                f"trainer.devices: got {settings.devices}, which would repeat the whole --multirun in each process; "
                "use one command per run, trainer.devices=1, or hydra/launcher=slurm"
            )
        return
    task = started_as("srun")  # other variables may come from where the job was submitted
    tasks = task.size if task else 1
    if tasks != settings.num_devices:
        raise SettingError(
            f"trainer.devices: got {settings.devices} in a job of {tasks} tasks; must be equal, "
            f"use hydra.launcher.tasks_per_node={settings.num_devices}"
        )
