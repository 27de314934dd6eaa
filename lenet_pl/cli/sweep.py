"""A sweep: its name and folder, the outcomes of its jobs, and a table of them."""

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from lenet_pl.display.text import as_json
from lenet_pl.errors import SettingError, display_path
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.folder_lock import JOB_FILE
from lenet_pl.settings.types import expand_home

SWEEP = "LENET_PL_SWEEP"  # environment variable that gives the jobs the name of their sweep
SHUTDOWN_TIMEOUT = 30  # s for the last step of an interrupted training
SUCCESS_STATES = ("finished", "kept")


@dataclass
class Job:
    """The outcome of a job, as stored in its folder.

    Attributes:
        sweep: Name of the sweep.
        job: Number of the job.
        overrides: Overrides of the job.
        state: One of running, finished, kept (finished by an earlier command), refused, failed, killed, interrupted.
        reason: One line with the reason why the job has not finished.
        exit_code: Exit code of a command that runs this job alone.
        seconds: Duration of the job in s.
        pid: Id of the process that runs the job.
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
        """Write the outcome to the folder of the job."""
        write_text(folder / JOB_FILE, as_json(asdict(self)))


def start_sweep(arguments: list[str]) -> Path | None:
    """Choose the name and the folder of a sweep before any of its jobs starts.

    Args:
        arguments: The command line. `run=` is appended if it is missing, so that processes on other machines and
            restarted jobs use the same folder.

    Returns:
        The folder. None if the folder depends on the job.
    """
    os.environ[SWEEP] = f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    given = [word.partition("=")[2] for word in arguments if word.startswith(("run=", "hydra.sweep.dir="))]
    if not given:
        arguments.append(f"run=runs/train/{os.environ[SWEEP]}")
        given = [f"runs/train/{os.environ[SWEEP]}"]
    place = given[-1].strip("'\"")
    return None if "," in place or "${" in place else Path(expand_home(place))


def read_jobs(folder: Path) -> list[tuple[Path, Job]]:
    """Read the outcomes of this sweep's jobs, with their folders, in the order of their numbers."""
    found = ((path.parent, read_job(path.parent)) for path in folder.glob(f"*/{JOB_FILE}"))
    jobs = [(place, job) for place, job in found if job and job.sweep == os.environ.get(SWEEP)]
    return sorted(jobs, key=lambda item: item[1].job)


def read_job(folder: Path) -> Job | None:
    """Read the outcome of a job from its folder. None if it is missing or invalid."""
    try:
        return Job(**json.loads((folder / JOB_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def report_sweep(folder: Path) -> int:
    """Print a table of all jobs with their results or reasons. Return the exit code, 0 if all jobs have results."""
    from rich.table import Table

    from lenet_pl.display.console import Console

    for place, job in read_jobs(folder):
        _await_end(place, job)
    jobs = read_jobs(folder)
    table = Table(title=f"{len(jobs)} jobs in {display_path(folder)}")
    for heading in ("job", "settings", "state", "result or reason", "seconds"):
        table.add_column(heading, overflow="fold", justify="right" if heading in ("job", "seconds") else "left")
    everywhere = set(jobs[0][1].overrides).intersection(*(job.overrides for _, job in jobs)) if len(jobs) > 1 else ()
    for place, job in jobs:
        result = describe_result(place) if job.state in SUCCESS_STATES else job.reason or ""
        own = [word for word in job.overrides if word not in everywhere]
        style = "" if job.state in SUCCESS_STATES else "red"
        cells = (str(job.job), " ".join(own), job.state, result, f"{job.seconds:.0f}")
        table.add_row(*cells, style=style)
    if len(jobs) > 1:
        Console().print(table)
    resumed = all("resume=true" in map(str.lower, job.overrides) for _, job in jobs)  # Hydra writes True in a sweep
    if jobs and resumed and all(job.state == "kept" for _, job in jobs):
        instead = "; use resume=auto to keep them, or raise trainer.max_epochs"
        print(f"error: resume: all {len(jobs)} jobs in {folder} are finished{instead}", file=sys.stderr)
        return SettingError.exit_code
    failed = [job for _, job in jobs if job.state not in SUCCESS_STATES]
    if failed:
        retry = "; repeat the command with resume=auto to run the missing jobs"
        if all(job.state == "refused" for job in failed):  # a repetition would not help
            retry = ""
        print(f"error: {len(failed)} of {len(jobs)} jobs have no result{retry}", file=sys.stderr)
    return max((job.exit_code if job.exit_code > 0 else 1 for job in failed), default=0)


def _await_end(folder: Path, job: Job) -> None:
    """Wait for a job that outlives its parent process to write its checkpoint, and record it as interrupted."""
    if job.state != "running" or job.pid is None:
        return
    for _ in range(SHUTDOWN_TIMEOUT * 10):
        try:
            os.kill(job.pid, 0)
        except OSError:
            break
        time.sleep(0.1)
    job.state, job.reason, job.exit_code = "interrupted", "the sweep was ended", 1
    job.write(folder)


def describe_result(folder: Path) -> str:
    """Describe the result in a run folder in one line: its accuracies, and whether it is at chance level."""
    try:
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        metrics, chance = content["metrics"], content.get("at_chance")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "results.json is unreadable"
    which = f" with {content['task']} {chance}" if isinstance(chance, list) else ""  # seeds or folds
    note = f"; learned nothing{which}" if chance else ""
    names = {"test/accuracy": "test accuracy", "best/val/accuracy": "validation accuracy"}
    return ", ".join(f"{name} {metrics[key]:.4f}" for key, name in names.items() if key in metrics) + note
