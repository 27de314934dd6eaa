"""Jobs of a sweep: each in a process of its own, so that none stops or changes another, and a table of how they end."""

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lenet_pl.atomic import write_text
from lenet_pl.error_lines import exit_code, explain
from lenet_pl.errors import SettingError, from_here, printable
from lenet_pl.interruption import Interruption
from lenet_pl.isolation import COMMAND, run_alone
from lenet_pl.processes import started_as
from lenet_pl.settings import TrainerSettings
from lenet_pl.settings.types import expand_home
from lenet_pl.text import as_json, prepare_output

RECORD = "job.json"  # in a job's folder: what it was given and how it ended
SWEEP = "LENET_PL_SWEEP"  # variable that tells the jobs which sweep they belong to
ENDS_WITHIN = 30  # s that an interrupted training is given for its last step
BASIC = "basic"
HERE = (BASIC, "joblib")  # launchers of Hydra that do the jobs on this machine; others let a cluster start them
GOOD = ("finished", "kept")


@dataclass
class Job:
    """How a job ended.

    Attributes:
        sweep: the command that it was part of.
        job: its number.
        overrides: what it was given.
        state: running, finished, kept (finished by an earlier command), refused, failed, killed or interrupted.
        reason: one line where it did not finish.
        exit_code: of a command that had done this job alone.
        seconds: from its beginning to its end.
        pid: of the process that does, or did, the work.
    """

    sweep: str
    job: int
    overrides: list[str]
    state: str = "running"
    reason: str | None = None
    exit_code: int = 0
    seconds: float = 0.0
    pid: int | None = None

    def write(self, folder: Path) -> None:
        """Leave it in the job's folder."""
        write_text(folder / RECORD, as_json(asdict(self)))


def begin_sweep(arguments: list[str]) -> Path | None:
    """Give a sweep a name and its folder, before any of its jobs is started.

    Args:
        arguments: of the command line; `run=` is added if it is not there, so that the same folder is meant everywhere
            and always, in processes of other machines and in jobs that are started a second time too.

    Returns:
        The folder; None if each job is to have one of its own making.
    """
    os.environ[SWEEP] = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    given = [word.partition("=")[2] for word in arguments if word.startswith(("run=", "hydra.sweep.dir="))]
    if not given:
        arguments.append(f"run=runs/train/{os.environ[SWEEP]}")
        given = [f"runs/train/{os.environ[SWEEP]}"]
    place = given[-1].strip("'\"")
    return None if "," in place or "${" in place else Path(expand_home(place))


def do_job(
    name: str, number: int, overrides: Sequence[str], folder: Path, settle: Callable[[], Any], work: Any, launcher: str
) -> None:
    """Do one job, and note how it ended; only an interruption is raised.

    Args:
        name: of the verb.
        number: of the job.
        overrides: what it was given.
        folder: of the job.
        settle: returns the settings to work with, or None where nothing is left to do.
        work: the verb's function, receives settings and folder.
        launcher: Hydra's, which has called this: basic, one job after the other; joblib; or a cluster's.
    """
    prepare_output()  # of a process that joblib or a cluster has started
    job = Job(os.environ.get(SWEEP, ""), number, list(overrides))
    task = None if launcher in HERE else started_as("srun")
    notes = task is None or task.rank == 0  # one of the tasks that a cluster has started for this job
    if notes:
        job.write(folder)
    start = time.perf_counter()
    try:
        alone_again = [word for word in overrides if not word.startswith(("run=", "resume="))]
        place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        command = shlex.join(["python", "-m", f"lenet_pl.{name}", f"run={place}", *alone_again])
        job.state, job.reason, job.exit_code = _outcome(name, job, folder, command, settle, work, launcher)
    except Interruption as interruption:
        job.state, job.reason, job.exit_code = "interrupted", str(interruption), interruption.exit_code
        raise
    finally:
        job.seconds = round(time.perf_counter() - start, 2)
        if notes:
            job.write(folder)
        if job.reason:
            print(f"error: job {number} ({printable(' '.join(overrides))}): {printable(job.reason)}", file=sys.stderr)
        elif launcher != BASIC:
            print(f"job {number}: {job.state}, {_result(folder)}, {job.seconds:.0f} s")


def _outcome(
    name: str, job: Job, folder: Path, command: str, settle: Callable[[], Any], work: Any, launcher: str
) -> tuple[str, str | None, int]:
    """Do the work here in a process that a cluster has started for it, else in one of its own."""
    state = "refused"
    try:
        settings = settle()
        if settings is None:
            return "kept", None, 0
        refuse_devices(settings.trainer, launcher)
        state = "failed"
        if launcher not in HERE:
            os.environ[COMMAND] = command
            work(settings, folder)
            return "finished", None, 0
    except Exception as error:
        return state, explain(error, name), exit_code(error)

    def started(pid: int) -> None:
        job.pid = pid
        job.write(folder)

    code, reason = run_alone(
        name, settings, folder, command, started, None if launcher == BASIC else folder / "log.txt"
    )
    if code == 0:
        return "finished", None, 0
    return "killed" if code < 0 else "failed", reason, 1 if code < 0 else code


def refuse_devices(settings: TrainerSettings, launcher: str) -> None:
    """Raise SettingError where a job of a sweep would have fewer or more processes than devices.

    Here a process that starts others would have each repeat the whole sweep. For a job of a cluster the cluster has
    started them all.
    """
    if launcher in HERE:
        if settings.devices > 1:
            raise SettingError(
                f"trainer.devices: {settings.devices} start the command again in each process and would repeat the "
                "whole --multirun; accepted is one command per run, trainer.devices=1, or hydra/launcher=slurm"
            )
        return
    task = started_as("srun")  # what else is set may be from where the job was submitted
    tasks = task.size if task else 1
    if tasks != settings.devices:
        raise SettingError(
            f"trainer.devices: got {settings.devices} in a job of {tasks} tasks; must be equal, "
            f"hydra.launcher.tasks_per_node={settings.devices} gives as many"
        )


def read_jobs(folder: Path) -> list[tuple[Path, Job]]:
    """Read what the jobs of this command have left, in the order of their numbers."""
    found = ((path.parent, read_job(path.parent)) for path in folder.glob(f"*/{RECORD}"))
    jobs = [(place, job) for place, job in found if job and job.sweep == os.environ.get(SWEEP)]
    return sorted(jobs, key=lambda item: item[1].job)


def read_job(folder: Path) -> Job | None:
    """Read what a job has left; None if there is nothing, or another program's."""
    try:
        return Job(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def close_sweep(folder: Path) -> int:
    """Print a table of all jobs with result or reason; return the exit code, 0 if all have results."""
    from rich.table import Table

    from lenet_pl.console import Console

    for place, job in read_jobs(folder):
        _await_end(place, job)
    jobs = read_jobs(folder)
    table = Table(title=f"{len(jobs)} jobs, in {from_here(folder)}")
    for heading in ("job", "settings", "state", "result, or reason", "seconds"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("job", "seconds") else "left")
    everywhere = set(jobs[0][1].overrides).intersection(*(job.overrides for _, job in jobs)) if len(jobs) > 1 else ()
    for place, job in jobs:
        said = _result(place) if job.state in GOOD else job.reason or ""
        own = [word for word in job.overrides if word not in everywhere]
        style = "" if job.state in GOOD else "red"
        cells = (str(job.job), " ".join(own), job.state, said, f"{job.seconds:.0f}")
        table.add_row(*cells, style=style)
    if len(jobs) > 1:
        Console().print(table)
    insisting = all("resume=true" in map(str.lower, job.overrides) for _, job in jobs)  # Hydra writes True in a sweep
    if jobs and insisting and all(job.state == "kept" for _, job in jobs):
        told = "; accepted is resume=auto to leave them as they are, or more trainer.max_epochs"
        print(f"error: resume: all {len(jobs)} jobs in {folder} are finished{told}", file=sys.stderr)
        return SettingError.exit_code
    failed = [job for _, job in jobs if job.state not in GOOD]
    if failed:
        again = "; the same command with resume=auto runs what is missing"
        if all(job.state == "refused" for job in failed):  # and would be again
            again = ""
        print(f"error: {len(failed)} of {len(jobs)} jobs have no result{again}", file=sys.stderr)
    return max((job.exit_code if job.exit_code > 0 else 1 for job in failed), default=0)


def _await_end(folder: Path, job: Job) -> None:
    """Give a job whose supervisor was ended before it the time to write its checkpoint, and note it."""
    if job.state != "running" or job.pid is None:
        return
    for _ in range(ENDS_WITHIN * 10):
        try:
            os.kill(job.pid, 0)
        except OSError:
            break
        time.sleep(0.1)
    job.state, job.reason, job.exit_code = "interrupted", "the sweep was ended", 1
    job.write(folder)


def _result(folder: Path) -> str:
    try:
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        metrics, chance = content["metrics"], content.get("at_chance")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "results.json is unreadable"
    told = f"; learned nothing{f' with seeds {chance}' if isinstance(chance, list) else ''}" if chance else ""
    names = {"test/accuracy": "test accuracy", "best/val/accuracy": "validation accuracy"}
    return ", ".join(f"{name} {metrics[key]:.4f}" for key, name in names.items() if key in metrics) + told
