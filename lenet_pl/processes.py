"""Which process of a run this one is: by the settings first, then by who has started it, never by one variable.

A run with one device is one process, whatever the environment says: a notebook, a shell or another training inside a
job inherits the variables of the job. A run with several devices is as many processes on one machine. Either its first
process starts the others, and hands each the name of the launch (`LAUNCH`); or srun, torchrun, mpirun and the like have
started all of them, with variables that together name rank, number and launch. Half of such a set is a leftover.

Lightning and torch would decide by their own reading of the environment. `own_variables` shows them what was decided.
"""

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lenet_pl.errors import SettingError

LAUNCH = "LENET_PL_LAUNCH"  # variable that the first process hands to those that it starts
LOCALHOST = "127.0.0.1"
# What Lightning and torch take for this process's place among others
PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR",
         "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", LAUNCH)  # fmt: skip
# What Lightning writes beside them
WRITTEN = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Launcher:
    """Names of the variables by which a launcher tells a process its place.

    Attributes:
        name: as users know it.
        rank: this process among all, from 0.
        sizes: how many processes there are; the first that is set.
        here: how many of them are on this machine; may be absent.
        needed: must be set too; alone, rank and size are some other launcher's or nobody's.
        identity: together different for every launch; where all are absent, the process that has started this one is.
    """

    name: str
    rank: str
    sizes: tuple[str, ...]
    here: str
    needed: tuple[str, ...]
    identity: tuple[str, ...]


LAUNCHERS = (  # what is started inside another comes first
    Launcher("torchrun", "RANK", ("WORLD_SIZE",), "LOCAL_WORLD_SIZE", ("LOCAL_RANK", "TORCHELASTIC_RUN_ID"),
             ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")),
    Launcher("mpirun", "OMPI_COMM_WORLD_RANK", ("OMPI_COMM_WORLD_SIZE",), "OMPI_COMM_WORLD_LOCAL_SIZE", (),
             ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid")),
    Launcher("mpiexec", "PMI_RANK", ("PMI_SIZE",), "MPI_LOCALNRANKS", (), ("PMI_JOBID",)),
    Launcher("jsrun", "JSM_NAMESPACE_RANK", ("JSM_NAMESPACE_SIZE",), "", ("LSB_JOBID",), ()),
    # A batch script has the number of tasks too and is none of them; only srun makes a step
    Launcher("srun", "SLURM_PROCID", ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), "SLURM_STEP_TASKS_PER_NODE",
             ("SLURM_JOB_ID", "SLURM_STEP_ID"), ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")),
    Launcher("the launcher", "RANK", ("WORLD_SIZE",), "LOCAL_WORLD_SIZE", ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"),
             ("MASTER_ADDR", "MASTER_PORT")),
)  # fmt: skip


@dataclass(frozen=True)
class Process:
    """A process of a run.

    Attributes:
        rank: from 0; the first one owns the run folder.
        size: how many processes the run has.
        launch: what all processes of one launch share; empty where none was launched yet.
        launcher: name of who has started all of them; empty where the first one starts the others.
    """

    rank: int = 0
    size: int = 1
    launch: str = ""
    launcher: str = ""


ALONE = Process()


@dataclass(frozen=True)
class Task:
    """What the environment says of this process's place.

    Attributes:
        launcher: who says so.
        rank: from 0.
        size: number of tasks.
        said: the variable of the number, and its value.
        here: how many of them are on this machine; empty if unknown.
    """

    launcher: Launcher
    rank: int
    size: int
    said: str
    here: str


def started_as(*names: str) -> Task | None:
    """Find out as which task of which launcher this process was started; None where no set of variables is whole.

    Args:
        names: launchers that come into question; by default all.
    """
    for launcher in LAUNCHERS:
        if names and launcher.name not in names:
            continue
        rank = _number(launcher.rank)
        said = next((name for name in launcher.sizes if os.environ.get(name)), "")
        size = _number(said)
        if rank is None or size is None or rank >= size or any(not os.environ.get(name) for name in launcher.needed):
            continue
        return Task(launcher, rank, size, f"{said}={size}", os.environ.get(launcher.here, ""))
    return None


def this_process(devices: int) -> Process:
    """Say which process of a run this is.

    Args:
        devices: `trainer.devices` of the run, one for each process.

    Raises:
        SettingError: a launcher has started another number of processes, or on more than one machine.
    """
    if devices == 1:
        return ALONE
    if (launch := os.environ.get(LAUNCH)) and 0 < (rank := _number("LOCAL_RANK") or 0) < devices:
        return Process(rank, devices, launch)
    task = started_as()
    if task is None or task.size == 1:
        return Process(0, devices)
    name = task.launcher.name
    if task.size != devices:
        raise SettingError(
            f"trainer.devices: got {devices}, and {name} has started {task.size} tasks ({task.said}); must be equal, "
            f"or one task, which starts the others itself"
        )
    if task.here not in ("", str(task.size)):
        raise SettingError(
            f"trainer.devices: got {devices}, and {name} has spread {task.size} tasks over several machines "
            f"({task.launcher.here}={task.here}); must all be on one"
        )
    names = [os.environ.get(variable, "") for variable in task.launcher.identity]
    parent = [platform.node(), str(os.getppid())]
    return Process(task.rank, devices, " ".join([name, *(names if any(names) else parent)]), name)


def meeting_point(process: Process) -> tuple[str, int]:
    """Choose address and port at which the processes of a run meet; those of MASTER_ADDR and MASTER_PORT if set.

    Raises:
        SettingError: what is set cannot be used.
    """
    if process.size == 1:
        return LOCALHOST, 0
    agent = bool(os.environ.get("TORCHELASTIC_RUN_ID"))  # torchrun listens at its own port itself
    address = LOCALHOST if agent else os.environ.get("MASTER_ADDR") or LOCALHOST
    given = "" if agent else os.environ.get("MASTER_PORT") or ""
    if given and not (given.isascii() and given.isdecimal() and 0 < int(given) < 65536):
        raise SettingError(f"MASTER_PORT: got {given!r}; must be 1 to 65535, or unset, and a free port is taken")
    try:
        family = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError):
        raise SettingError(
            f"MASTER_ADDR: got {address!r}, which is not found; must be an address of this machine, or unset"
        ) from None
    try:
        _listen(family, address, 0)
    except OSError:
        raise SettingError(
            f"MASTER_ADDR: got {address!r}, which is another machine; must be an address of this machine, or unset"
        ) from None
    try:
        return address, _listen(family, "", int(given or 0))
    except OSError as error:
        raise SettingError(
            f"MASTER_PORT: got {given}, {(error.strerror or str(error)).lower()}; must be a free port, or unset, and "
            "one is taken"
        ) from None


@contextmanager
def own_variables(process: Process, launch: str, address: str, port: int) -> Iterator[None]:
    """Set the environment as Lightning and torch are to read it; on leaving it is as before.

    Args:
        process: of this run.
        launch: name for the processes that this one starts.
        address: where they meet.
        port: where they meet.
    """
    before = {name: os.environ.get(name) for name in (*PLACE, *WRITTEN)}
    for name in PLACE:
        os.environ.pop(name, None)
    if process.size > 1:
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
        if process.rank or process.launcher:
            os.environ["LOCAL_RANK"] = str(process.rank)  # by which Lightning knows that it has to start none
        else:
            os.environ[LAUNCH] = launch
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _number(name: str) -> int | None:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def _listen(family: int, address: str, port: int) -> int:
    """Listen for a moment; returns the port, chosen by the system where 0 is asked for."""
    with socket.socket(family, socket.SOCK_STREAM) as one:
        if os.name == "posix":  # elsewhere it would let two listen at once; here it skips what was closed just now
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address, port))
        one.listen()
        return int(one.getsockname()[1])
