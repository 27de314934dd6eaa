"""Rank and world size of this process, according to the settings first and the launcher second.

A run with one device is one process, whatever the environment contains: a notebook, a shell or another training inside
a job inherits the variables of the job. A run with several devices has as many processes on one machine. Either rank 0
starts the others and passes them the identifier of the launch (`LAUNCH`), or a launcher such as srun, torchrun or
mpirun has started all of them. It then sets several variables, which together give rank, world size and launch. An
incomplete set is a leftover and is ignored.

Lightning and torch interpret the environment in their own way. `own_variables` sets it to match the decision here.
"""

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lenet_pl.errors import SettingError
from lenet_pl.runtime.launchers import number_in, started_as

LAUNCH = "LENET_PL_LAUNCH"  # environment variable that rank 0 passes to the processes that it starts
LOCALHOST = "127.0.0.1"
# Variables from which Lightning and torch derive rank and world size
PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR",
         "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", LAUNCH)  # fmt: skip
# Variables that Lightning sets
WRITTEN = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Process:
    """A process of a run.

    Attributes:
        rank: Rank of the process, from 0. Rank 0 owns the run folder.
        size: World size, the number of processes of the run.
        launch: Identifier that all processes of a launch share. Empty before a launch.
        launcher: Name of the launcher that has started all processes. Empty if rank 0 starts the others.
    """

    rank: int = 0
    size: int = 1
    launch: str = ""
    launcher: str = ""


ALONE = Process()


def this_process(devices: int) -> Process:
    """Determine which process of a run this one is.

    Args:
        devices: Value of `trainer.devices`, with one process per device.

    Raises:
        SettingError: If a launcher has started another number of processes, or on more than one machine.
    """
    if devices == 1:
        return ALONE
    if (launch := os.environ.get(LAUNCH)) and 0 < (rank := number_in("LOCAL_RANK") or 0) < devices:
        return Process(rank, devices, launch)
    task = started_as()
    if task is None or task.size == 1:
        return Process(0, devices)
    name = task.launcher.name
    if task.size != devices:
        raise SettingError(
            f"trainer.devices: got {devices}, but {name} has started {task.size} tasks ({task.size_variable}); must be "
            f"equal, or use one task, which starts the others"
        )
    if task.here not in ("", str(task.size)):
        raise SettingError(
            f"trainer.devices: got {devices}, but {name} has started {task.size} tasks on several machines "
            f"({task.launcher.here}={task.here}); must all be on one machine"
        )
    names = [os.environ.get(variable, "") for variable in task.launcher.identity]
    parent = [platform.node(), str(os.getppid())]
    return Process(task.rank, devices, " ".join([name, *(names if any(names) else parent)]), name)


def meeting_point(process: Process) -> tuple[str, int]:
    """Choose the address and port at which the processes of a run meet.

    Returns:
        The values of MASTER_ADDR and MASTER_PORT if they are set, else this machine and a free port.

    Raises:
        SettingError: If MASTER_ADDR or MASTER_PORT cannot be used.
    """
    if process.size == 1:
        return LOCALHOST, 0
    agent = bool(os.environ.get("TORCHELASTIC_RUN_ID"))  # torchrun itself listens on MASTER_PORT
    address = LOCALHOST if agent else os.environ.get("MASTER_ADDR") or LOCALHOST
    given = "" if agent else os.environ.get("MASTER_PORT") or ""
    if given and not (given.isascii() and given.isdecimal() and 0 < int(given) < 65536):
        raise SettingError(f"MASTER_PORT: got {given!r}; must be 1 to 65535, or unset to use a free port")
    try:
        family = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError):
        raise SettingError(
            f"MASTER_ADDR: got {address!r}, which cannot be resolved; must be an address of this machine, or unset"
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
            f"MASTER_PORT: got {given}, {(error.strerror or str(error)).lower()}; must be a free port, or unset to "
            "use one"
        ) from None


@contextmanager
def own_variables(process: Process, launch: str, address: str, port: int) -> Iterator[None]:
    """Set the environment variables that Lightning and torch read, and restore them on exit.

    Args:
        process: This process among those of the run.
        launch: Identifier of the launch, for the processes that this one starts.
        address: Address at which the processes meet.
        port: Port at which the processes meet.
    """
    before = {name: os.environ.get(name) for name in (*PLACE, *WRITTEN)}
    for name in PLACE:
        os.environ.pop(name, None)
    if process.size > 1:
        os.environ.update(MASTER_ADDR=address, MASTER_PORT=str(port))
        if process.rank or process.launcher:
            os.environ["LOCAL_RANK"] = str(process.rank)  # stops Lightning from starting processes
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


def _listen(family: int, address: str, port: int) -> int:
    """Listen for a moment and return the port, which the system chooses if `port` is 0."""
    with socket.socket(family, socket.SOCK_STREAM) as server:
        if os.name == "posix":  # allows a port that was just closed; on Windows two processes could share one
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        server.listen()
        return int(server.getsockname()[1])
