"""The lock of a run folder, held by the processes of one launch at a time.

The owner holds `.lock`, which the system releases when the process ends in any way. In a run with several processes,
`.owner` contains the launch that owns the folder and the address at which its processes meet. Processes that a launcher
has started confirm this with a file `.rank_<number>` each, so that none waits for a process that was never started. All
these files are removed when the owner ends normally.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lenet_pl.errors import SettingError
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.processes import ALONE, Process, meeting_point, own_variables

LOCK, OWNER = ".lock", ".owner"
JOB_FILE = "job.json"  # in the folder of a sweep job: its overrides and its outcome

BRIEFLY = 0.3  # s for which others may hold the lock while they test it
MEETS_WITHIN = 300.0  # s between the first and last process of a launch; a cold file system takes 60 s
POLLS_EVERY = 0.1  # s
ANSWER = ".rank_{}"


@dataclass(frozen=True)
class Owner:
    """The content of `.owner`.

    Attributes:
        launch: Identifier of the launch that owns the folder.
        address: Address at which the processes of the launch meet.
        port: Port at which they meet.
    """

    launch: str
    address: str
    port: int


@contextmanager
def lock_run_folder(folder: Path, process: Process = ALONE) -> Iterator[None]:
    """Lock a run folder for the processes of this run, and set their environment variables inside the block.

    Args:
        folder: The run folder, which exists.
        process: This process among those of the run. Rank 0 takes the lock, the others wait until it has.

    Raises:
        SettingError: If another process uses the folder, processes of this run are missing, or MASTER_ADDR or
            MASTER_PORT is invalid.
    """
    if process.rank:
        owner = _await_owner(folder, process)
        with own_variables(process, owner.launch, owner.address, owner.port):
            yield
        return
    owner = Owner(process.launch or uuid.uuid4().hex, *meeting_point(process))
    lock = FileLock(folder / LOCK, timeout=BRIEFLY)
    try:
        lock.acquire()
    except Timeout:
        raise in_use(folder) from None
    try:
        if process.size > 1:
            _remove_launch_files(folder)
            write_text(folder / OWNER, json.dumps(asdict(owner)))
        if process.launcher:
            _await_others(folder, process)
        with own_variables(process, owner.launch, owner.address, owner.port):
            yield
    finally:
        _remove_launch_files(folder)
        if os.name == "posix":  # while it is locked; other systems cannot remove an open file
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if os.name != "posix":
            _remove_if_free(folder / LOCK)


def _await_owner(folder: Path, process: Process) -> Owner:
    """Wait until rank 0 of this launch has locked the folder.

    Raises:
        SettingError: If it does not, or another process has locked the folder.
    """
    start = time.monotonic()
    free = start  # last time that the folder was seen without an owner
    while True:
        owner = read_owner(folder)
        if owner and owner.launch == process.launch and is_held(folder):
            if process.launcher:
                write_text(folder / ANSWER.format(process.rank), process.launch)
            return owner
        now = time.monotonic()
        if not is_held(folder):
            free = now
        elif now - free > 10 * BRIEFLY:  # the owner would have written .owner by now
            raise in_use(folder)
        if now - start > (MEETS_WITHIN if process.launcher else 10 * BRIEFLY):
            raise SettingError(
                f"run: process {process.rank} of {process.size} found no process 0 using {folder} after "
                f"{now - start:.0f} s; must be started together with process 0, with the same run="
            )
        time.sleep(POLLS_EVERY)


def _await_others(folder: Path, process: Process) -> None:
    """Wait until all other processes of this launch have found the folder.

    Raises:
        SettingError: If one of them has not within `MEETS_WITHIN`.
    """
    start = time.monotonic()
    missing = set(range(1, process.size))
    while missing := {rank for rank in missing if _text(folder / ANSWER.format(rank)) != process.launch}:
        if time.monotonic() - start > MEETS_WITHIN:
            raise SettingError(
                f"trainer.devices: process {min(missing)} of {process.size}, started by {process.launcher}, did not "
                f"open {folder} within {MEETS_WITHIN:.0f} s; must be started together, with the same run="
            )
        time.sleep(POLLS_EVERY)


def in_use(folder: Path) -> SettingError:
    """Make the error of a folder that another process has locked."""
    return SettingError(f"run: {folder} is locked by another process; choose another folder or wait for it")


def is_held(folder: Path) -> bool:
    """Whether a running process has locked the folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def read_owner(folder: Path) -> Owner | None:
    """Read `.owner`; None if it is missing or corrupt."""
    try:
        return Owner(**json.loads(_text(folder / OWNER)))
    except (ValueError, TypeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _remove_launch_files(folder: Path) -> None:
    """Remove the files through which processes of this or an earlier launch found each other."""
    for path in (folder / OWNER, *folder.glob(ANSWER.format("*"))):
        path.unlink(missing_ok=True)


def _remove_if_free(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the next owner has it open
        return
