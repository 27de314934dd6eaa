"""Who owns a run folder: one process at a time, and those of its launch with it.

The owner holds `.lock`, which ends with the process, however that ends. Beside it, for the others of a run with several
processes, `.owner` names the launch and where they meet; and processes that a launcher has started answer it, each with
a `.rank_<number>`, so that none waits in vain for one that never came. All of them are gone when the owner ends well.
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
from hydra.core.hydra_config import HydraConfig

from lenet_pl.atomic import PART, write_text
from lenet_pl.errors import SettingError
from lenet_pl.processes import ALONE, Process, meeting_point, own_variables
from lenet_pl.slurm import JOB
from lenet_pl.sweep import RECORD

LOCK, OWNER = ".lock", ".owner"
NO_RUN = {RECORD, LOCK, OWNER, JOB}  # what may be in a folder before a run is
BRIEFLY = 0.3  # s for which others may hold the lock to see whether it is free
MEETS_WITHIN = 300.0  # s between the first and the last process of a launch; a cold file system takes a minute
POLLS_EVERY = 0.1  # s
ANSWER = ".rank_{}"


@dataclass(frozen=True)
class Owner:
    """What `.owner` holds: the launch that owns the folder, and where its processes meet."""

    launch: str
    address: str
    port: int


@contextmanager
def used_by_one(folder: Path, process: Process = ALONE) -> Iterator[None]:
    """Keep a run folder for this process and the others of its run, with an environment that fits it.

    Args:
        folder: of the run; it exists.
        process: which of the run's this is. The first takes the folder, the others look whether theirs has.

    Raises:
        SettingError: another process works in the folder; processes of this run are missing; or MASTER_ADDR or
            MASTER_PORT cannot be used.
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
        raise _in_use(folder) from None
    try:
        if process.size > 1:
            _forget(folder)
            write_text(folder / OWNER, json.dumps(asdict(owner)))
        if process.launcher:
            _await_others(folder, process)
        with own_variables(process, owner.launch, owner.address, owner.port):
            yield
    finally:
        _forget(folder)
        if os.name == "posix":  # before others can hold the file; elsewhere an open file cannot be removed
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        if os.name != "posix":
            _remove_if_free(folder / LOCK)


def refuse_used_folder(folder: Path, process: Process = ALONE) -> None:
    """Raise SettingError if anything is in the folder already that the first process of this run has not put there."""
    refuse_run(folder, process)
    names = {path.name.removesuffix(PART) for path in folder.iterdir()}
    no_run = NO_RUN | _written_by_hydra()
    if any(name not in no_run and not name.startswith(ANSWER.format("")) for name in names):
        line = f"run: {folder} is not empty; accepted is a new or an empty folder"
        _unless_owned(folder, process, str(_in_use(folder)) if _is_held(folder) else line)


def _written_by_hydra() -> set[str]:
    """Name what Hydra puts into the run folder before the work begins: its settings and its log, where asked for."""
    if not HydraConfig.initialized():
        return set()
    given = HydraConfig.get()
    handlers = (given.job_logging or {}).get("handlers") or {}
    logs = {Path(str(handler["filename"])).name for handler in handlers.values() if handler.get("filename")}
    return logs | ({str(given.output_subdir)} if given.output_subdir else set())


def refuse_run(folder: Path, process: Process = ALONE) -> None:
    """Raise SettingError if the folder holds a run that the first process of this run has not begun."""
    if (folder / "config.yaml").exists() or (folder / "results.json").exists():
        _unless_owned(folder, process, f"run: {folder} holds a run already; accepted is a new or an empty folder")


def refuse_running(folder: Path, process: Process = ALONE) -> None:
    """Raise SettingError if a process that is not of this run works in the folder."""
    if _is_held(folder):
        _unless_owned(folder, process, str(_in_use(folder)))


def _unless_owned(folder: Path, process: Process, line: str) -> None:
    # Looked at last: the owner notes itself before it writes anything else
    if not process.rank or not _is_owned(folder, process):
        raise SettingError(line)


def _is_owned(folder: Path, process: Process) -> bool:
    owner = _read(folder)
    return owner is not None and owner.launch == process.launch and _is_held(folder)


def _await_owner(folder: Path, process: Process) -> Owner:
    """Wait until the first process of this launch has taken the folder.

    Raises:
        SettingError: it does not, or another has it.
    """
    begin = time.monotonic()
    free = begin  # when the folder was seen without an owner last
    while True:
        owner = _read(folder)
        if owner and owner.launch == process.launch and _is_held(folder):
            if process.launcher:
                write_text(folder / ANSWER.format(process.rank), process.launch)
            return owner
        now = time.monotonic()
        if not _is_held(folder):
            free = now
        elif now - free > 10 * BRIEFLY:  # long enough to have noted itself
            raise _in_use(folder)
        if now - begin > (MEETS_WITHIN if process.launcher else 10 * BRIEFLY):
            raise SettingError(
                f"run: process {process.rank} of {process.size} has found no process 0 at work in {folder} after "
                f"{now - begin:.0f} s; must be started together with it, with the same run="
            )
        time.sleep(POLLS_EVERY)


def _await_others(folder: Path, process: Process) -> None:
    """Wait until all other processes of this launch have found the folder.

    Raises:
        SettingError: one has not.
    """
    begin = time.monotonic()
    missing = set(range(1, process.size))
    while missing := {rank for rank in missing if _text(folder / ANSWER.format(rank)) != process.launch}:
        if time.monotonic() - begin > MEETS_WITHIN:
            raise SettingError(
                f"trainer.devices: process {min(missing)} of {process.size} that {process.launcher} has started did "
                f"not come to {folder} within {MEETS_WITHIN:.0f} s; must be started together, with the same run="
            )
        time.sleep(POLLS_EVERY)


def _in_use(folder: Path) -> SettingError:
    return SettingError(f"run: another process works in {folder}; accepted is a folder that none uses")


def _is_held(folder: Path) -> bool:
    """Whether a living process has the folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def _read(folder: Path) -> Owner | None:
    try:
        return Owner(**json.loads(_text(folder / OWNER)))
    except (ValueError, TypeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _forget(folder: Path) -> None:
    """Remove what processes of this or an earlier launch have left for each other."""
    for path in (folder / OWNER, *folder.glob(ANSWER.format("*"))):
        path.unlink(missing_ok=True)


def _remove_if_free(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the next owner has it open
        return
