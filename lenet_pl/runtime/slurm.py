"""SLURM jobs: their signals, requeueing after a preemption or timeout, and resuming after a requeue.

Several programs use the same signals. SLURM announces the end of the time limit with USR2, as submitit requests, and a
preemption with TERM. submitit reacts to USR2 by requeueing the job at once, in the middle of a step. Lightning would
also requeue it, with a checkpoint that ignores the steps within an epoch, if it detected SLURM. `runtime.processes`
prevents that. Here the order is:

1. `SignalHandler` handles these signals during training. The run ends after the current step and writes
   checkpoints/last.ckpt.
2. The job is then requeued once: by submitit if its handler was installed, otherwise by this module. A job that was
   cancelled, or that SLURM has requeued itself, is left alone.
3. When SLURM restarts the job, `was_requeued` returns True and the run resumes in its folder.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from lenet_pl.errors import SettingError
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.signals import PREEMPTION_SIGNALS, Interruption

LAUNCHER = "hydra/launcher=slurm"
JOB = ".slurm_job"  # in a run folder: the id of the job that started the run
COMMANDS = ("sbatch", "srun", "scontrol", "sinfo")
COMMAND_TIMEOUT = 60  # s to wait for the controller
TRIES = 3


def check_launcher(overrides: Sequence[str], multirun: bool) -> None:
    """Check that the jobs of a sweep can be submitted, before anything is written.

    Args:
        overrides: The overrides of the command line.
        multirun: Whether the command line has -m.

    Raises:
        SettingError: If the launcher for SLURM is selected and cannot be used.
    """
    if LAUNCHER not in overrides:
        return
    if missing := [name for name in COMMANDS if not shutil.which(name)]:
        raise SettingError(
            f"{LAUNCHER}: no SLURM on this machine, {', '.join(missing)} not found; use a machine that can submit "
            "jobs, or leave it out to run the sweep here"
        )
    if not has_launcher():
        raise SettingError(f"{LAUNCHER}: hydra-submitit-launcher is not installed; pip install 'lenet_pl[slurm]'")
    if not multirun:  # Hydra would silently train on this machine
        raise SettingError(f"{LAUNCHER}: only sweeps are submitted; use -m before the settings")
    try:
        _run("sinfo", "--noheader")
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingError(f"{LAUNCHER}: SLURM does not respond: {_reason(error)}") from None


def has_launcher() -> bool:
    """Whether Hydra's launcher for SLURM is installed."""
    plugins = importlib.util.find_spec("hydra_plugins")
    return bool(plugins and importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher"))


def format_error(error: BaseException) -> str:
    """Describe an error of sbatch or submitit in one line. Empty for other errors."""
    kind = type(error)
    if not kind.__module__.startswith("submitit."):
        return ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("sbatch: "):
        reasons = [line.split(": ", 2)[-1] for line in lines]
        return f"hydra.launcher: the job is rejected by sbatch: {'; '.join(reasons)}"
    return f"SLURM job: {' '.join(lines) or kind.__name__}"


def in_slurm_job() -> bool:
    """Whether this process belongs to a SLURM job or to a step of one."""
    return "SLURM_JOB_ID" in os.environ and "SLURM_PROCID" in os.environ


def was_requeued(folder: Path) -> bool:
    """Whether SLURM has restarted this job, and the job itself started the run in the folder."""
    if not in_slurm_job() or os.environ.get("SLURM_RESTART_COUNT", "0") in ("", "0"):
        return False
    try:
        return (folder / JOB).read_text(encoding="utf-8") == os.environ["SLURM_JOB_ID"]
    except OSError:
        return False


def note_job(folder: Path) -> None:
    """Record in a run folder the id of the SLURM job that starts the run. Outside a job, do nothing."""
    if in_slurm_job():
        write_text(folder / JOB, os.environ["SLURM_JOB_ID"])


@contextlib.contextmanager
def requeue_on_preemption(*, first: bool = True) -> Iterator[None]:
    """Requeue an interrupted job that has to be resumed. Enter it before the SignalHandler.

    Outside a SLURM job it does nothing. In a job that was not started by submitit, USR1 and USR2 also requeue it, as
    requested by `sbatch --signal=USR1@90`. Without a handler they would kill Python.

    Args:
        first: Whether this is rank 0 of the run, which acts for all ranks.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        if first:
            requeue()
        if frame is not None:  # a SignalHandler, which ends the training itself, passes None
            raise Interruption(number)

    if not in_slurm_job():
        yield
        return
    mine = [number for number in PREEMPTION_SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    if "SUBMITIT_EXECUTOR" in os.environ:
        mine = []
    for number in mine:
        signal.signal(number, on_signal)
    try:
        yield
    except Interruption as interruption:
        if first and interruption.exit_code == 128 + signal.SIGTERM and preempted():
            requeue()
        raise
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def preempted() -> bool:
    """Whether another job is about to replace this one, which then has to be requeued.

    TERM does not give the reason why a job has to end. After `scancel` it must not return, and if preemption has no
    grace time SLURM has requeued it already. Only the controller knows.
    """
    state = _state()
    return state.get("JobState") == "RUNNING" and state.get("PreemptTime", "None") not in ("None", "Unknown")


def requeue() -> None:
    """Requeue this job, and report it on stderr."""
    try:
        _run("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
        _report("requeued")
    except (OSError, subprocess.SubprocessError) as error:
        # If the first try has ended this very step, the next one finds the job requeued already
        if not _state().get("JobState", "").startswith(("PENDING", "REQUEUED")):
            _report(f"not requeued: {_reason(error)}; use run=<its folder> resume=true to resume")


def _state() -> dict[str, str]:
    """Query the state of this job. Empty if the controller does not respond."""
    try:
        output = _run("scontrol", "show", "job", "--oneliner", os.environ["SLURM_JOB_ID"])
    except (OSError, subprocess.SubprocessError) as error:
        _report(f"SLURM does not report the state of the job: {_reason(error)}")
        return {}
    return dict(word.split("=", 1) for word in output.split() if "=" in word)


def _run(*command: str) -> str:
    """Run a SLURM command, again if a signal sent to all processes of the job has killed it."""
    for _ in range(TRIES):
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT)
        if done.returncode >= 0:
            break
    done.check_returncode()
    return done.stdout


def _reason(error: Exception) -> str:
    """Return the last line of a SLURM command's error output, or of the error itself if it printed none."""
    text = str(getattr(error, "stderr", None) or error).strip()
    return text.splitlines()[-1]


def _report(what: str) -> None:
    print(f"job {os.environ['SLURM_JOB_ID']}: {what}", file=sys.stderr, flush=True)
