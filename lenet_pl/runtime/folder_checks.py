"""Checks before a run starts: its folder is unused, contains no run, or no other process runs in it."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from lenet_pl.errors import SettingError
from lenet_pl.runtime.atomic_files import PARTIAL_SUFFIX
from lenet_pl.runtime.folder_lock import ANSWER, JOB_FILE, LOCK, OWNER, in_use, is_held, read_owner
from lenet_pl.runtime.processes import ALONE, Process
from lenet_pl.runtime.slurm import JOB

NO_RUN = {JOB_FILE, LOCK, OWNER, JOB}  # files that may be in a folder before it contains a run


def check_folder_unused(folder: Path, process: Process = ALONE) -> None:
    """Check that the folder is empty, except for files of Hydra and of the processes of this run.

    Raises:
        SettingError: If it contains other files, or another process uses it.
    """
    check_no_run(folder, process)
    names = {path.name.removesuffix(PARTIAL_SUFFIX) for path in folder.iterdir()}
    no_run = NO_RUN | _written_by_hydra()
    if any(name not in no_run and not name.startswith(ANSWER.format("")) for name in names):
        line = f"run: {folder} is not empty; must be a new or an empty folder"
        _unless_owned(folder, process, str(in_use(folder)) if is_held(folder) else line)


def _written_by_hydra() -> set[str]:
    """Return the names of what Hydra writes to the run folder before the command: its settings and logs, if enabled."""
    if not HydraConfig.initialized():
        return set()
    given = HydraConfig.get()
    handlers = (given.job_logging or {}).get("handlers") or {}
    logs = {Path(str(handler["filename"])).name for handler in handlers.values() if handler.get("filename")}
    return logs | ({str(given.output_subdir)} if given.output_subdir else set())


def check_no_run(folder: Path, process: Process = ALONE) -> None:
    """Check that the folder contains no run, unless rank 0 of this run has started it.

    Raises:
        SettingError: If it contains another run.
    """
    if (folder / "config.yaml").exists() or (folder / "results.json").exists():
        _unless_owned(folder, process, f"run: {folder} already contains a run; must be a new or an empty folder")


def check_not_running(folder: Path, process: Process = ALONE) -> None:
    """Check that no process of another run uses the folder.

    Raises:
        SettingError: If one does.
    """
    if is_held(folder):
        _unless_owned(folder, process, str(in_use(folder)))


def _unless_owned(folder: Path, process: Process, line: str) -> None:
    # Checked last, since the owner writes .owner before any other file
    if not process.rank or not _is_owned(folder, process):
        raise SettingError(line)


def _is_owned(folder: Path, process: Process) -> bool:
    owner = read_owner(folder)
    return owner is not None and owner.launch == process.launch and is_held(folder)
