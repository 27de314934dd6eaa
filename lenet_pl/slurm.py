"""Jobs of a SLURM cluster: who hears which signal, who puts a job back into the queue, and how it goes on.

Three take an interest in the same signals. SLURM announces the end of the time by USR2 (asked for by submitit) and a
preemption by TERM; submitit answers USR2 by putting the job back into the queue, at once, in the midst of a step; and
Lightning would put it back as well, with a checkpoint of its own that knows nothing of steps inside an epoch, were it
told of SLURM (it never is, `lenet_pl.processes`). Here:

1. `Interruptible` hears all of them while training, and the run ends after the step with checkpoints/last.ckpt written.
2. Then one puts the job back: submitit where it listened before, else this module. A job that was cancelled, or that
   SLURM has put back itself, is left alone.
3. When SLURM starts it again, `restarted` says so, and the run goes on in its folder.
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

from lenet_pl.atomic import write_text
from lenet_pl.errors import SettingError
from lenet_pl.interruption import ANNOUNCING, Interruption

LAUNCHER = "hydra/launcher=slurm"
JOB = ".slurm_job"  # in a run folder: the job that has begun the run
COMMANDS = ("sbatch", "srun", "scontrol", "sinfo")
ANSWERS_WITHIN = 60  # s that the controller is given
TRIES = 3


def check_launcher(overrides: Sequence[str], multirun: bool) -> None:
    """Raise SettingError if jobs are to be submitted and cannot be; before anything is written.

    Args:
        overrides: what the command line says.
        multirun: whether it asks for a sweep.
    """
    if LAUNCHER not in overrides:
        return
    if missing := [name for name in COMMANDS if not shutil.which(name)]:
        raise SettingError(
            f"{LAUNCHER}: no SLURM on this machine, {', '.join(missing)} not found; accepted is a machine from which "
            "jobs are submitted; without it the sweep runs here"
        )
    if not has_launcher():
        raise SettingError(f"{LAUNCHER}: hydra-submitit-launcher is not installed; pip install 'lenet_pl[slurm]'")
    if not multirun:  # Hydra would train here, and say nothing
        raise SettingError(f"{LAUNCHER}: only sweeps are submitted; accepted is -m before the settings")
    try:
        _ask("sinfo", "--noheader")
    except (OSError, subprocess.SubprocessError) as error:
        raise SettingError(f"{LAUNCHER}: no answer from SLURM: {_reason(error)}") from None


def has_launcher() -> bool:
    """Whether Hydra's launcher for SLURM is installed."""
    plugins = importlib.util.find_spec("hydra_plugins")
    return bool(plugins and importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher"))


def explain(error: BaseException) -> str:
    """Say in one line what sbatch or submitit found wrong; empty for errors of others."""
    kind = type(error)
    if not kind.__module__.startswith("submitit."):
        return ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("sbatch: "):
        refused = [line.split(": ", 2)[-1] for line in lines]
        return f"hydra.launcher: sbatch does not take the job: {'; '.join(refused)}"
    return f"SLURM job: {' '.join(lines) or kind.__name__}"


def in_job() -> bool:
    """Whether this process belongs to a batch job or a step of one."""
    return "SLURM_JOB_ID" in os.environ and "SLURM_PROCID" in os.environ


def restarted(folder: Path) -> bool:
    """Whether SLURM has started this job before, and it was this job that has begun the run in the folder."""
    if not in_job() or os.environ.get("SLURM_RESTART_COUNT", "0") in ("", "0"):
        return False
    try:
        return (folder / JOB).read_text(encoding="utf-8") == os.environ["SLURM_JOB_ID"]
    except OSError:
        return False


def note_job(folder: Path) -> None:
    """Leave in a run folder which job has begun the run; outside jobs nothing."""
    if in_job():
        write_text(folder / JOB, os.environ["SLURM_JOB_ID"])


@contextlib.contextmanager
def back_into_the_queue(*, first: bool = True) -> Iterator[None]:
    """Put an interrupted job back into the queue if it is to go on; enter it before the Interruptible.

    Outside SLURM it does nothing. In a job that submitit did not start, USR1 and USR2 (as `sbatch --signal=USR1@90`
    asks for) put it back too; else Python would die of them.

    Args:
        first: whether this is the first process of a run; it acts for all of them.
    """

    def answer(number: int, frame: FrameType | None) -> None:
        if first:
            requeue()
        if frame is not None:  # no training was there to end by itself
            raise Interruption(number)

    if not in_job():
        yield
        return
    mine = [number for number in ANNOUNCING if signal.getsignal(number) == signal.SIG_DFL]
    if "SUBMITIT_EXECUTOR" in os.environ:
        mine = []
    for number in mine:
        signal.signal(number, answer)
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
    """Whether this job is given time to end because another takes its place, and would then be lost.

    TERM says that a job is to end, not why: after `scancel` it must not come back, and where preemption gives no time
    SLURM has put it back already. Only the controller can tell.
    """
    state = _state()
    return state.get("JobState") == "RUNNING" and state.get("PreemptTime", "None") not in ("None", "Unknown")


def requeue() -> None:
    """Put this job back into the queue."""
    try:
        _ask("scontrol", "requeue", os.environ["SLURM_JOB_ID"])
        _say("back in the queue")
    except (OSError, subprocess.SubprocessError) as error:
        # Where the first try was answered by the end of this step, the next one finds it done
        if not _state().get("JobState", "").startswith(("PENDING", "REQUEUED")):
            _say(f"not put back into the queue: {_reason(error)}; run=<its folder> resume=true goes on")


def _state() -> dict[str, str]:
    """Ask the controller about this job; empty if it does not answer."""
    try:
        told = _ask("scontrol", "show", "job", "--oneliner", os.environ["SLURM_JOB_ID"])
    except (OSError, subprocess.SubprocessError) as error:
        _say(f"SLURM does not say how the job stands: {_reason(error)}")
        return {}
    return dict(word.split("=", 1) for word in told.split() if "=" in word)


def _ask(*command: str) -> str:
    """Run one of SLURM's commands, again if a signal that was meant for all processes of the job has ended it."""
    for _ in range(TRIES):
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWERS_WITHIN)
        if done.returncode >= 0:
            break
    done.check_returncode()
    return done.stdout


def _reason(error: Exception) -> str:
    """Take the last thing that one of SLURM's commands said, or that it said nothing."""
    said = str(getattr(error, "stderr", None) or error).strip()
    return said.splitlines()[-1]


def _say(what: str) -> None:
    print(f"job {os.environ['SLURM_JOB_ID']}: {what}", file=sys.stderr, flush=True)
