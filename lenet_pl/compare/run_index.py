"""Find the runs below a folder, and read their results and settings; fast enough for thousands of runs."""

import glob
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lenet_pl.cli.sweep import read_job
from lenet_pl.compare.read_results import read_results
from lenet_pl.compare.run import Evaluation, Run
from lenet_pl.errors import DataError
from lenet_pl.runtime.folder_lock import JOB_FILE
from lenet_pl.settings.config_file import NOT_OWN, read_settings, reason

NEVER_RUNS = ("checkpoints", "tensorboard", "wandb")  # subfolders of a run that contain no runs


@dataclass
class RunIndex:
    """The runs and evaluations below some folders."""

    runs: list[Run]
    evaluations: list[Evaluation] = field(default_factory=list)
    others: int = 0  # number of results.json files of other tasks or programs

    @property
    def skipped(self) -> int:
        """The number of results.json files that do not belong to runs."""
        return self.others + len(self.evaluations)


def find_runs(places: Iterable[str]) -> RunIndex:
    """Find all runs below folders, at any depth. Symbolic links are followed, and no folder is read twice.

    Args:
        places: Folders, or glob patterns of folders.

    Raises:
        DataError: A path is not a folder, or a pattern matches none.
    """
    index, seen = RunIndex([]), set[tuple[int, int]]()
    for place in places:
        matches = sorted(glob.glob(place, recursive=True))  # noqa: PTH207 - Path.glob rejects absolute patterns
        roots = [Path(path) for path in matches if Path(path).is_dir()]
        if Path(place).is_dir():  # its name may contain brackets
            roots = [Path(place)]
        if not roots:
            kind = "matches no folder" if glob.has_magic(place) else "is not a folder"
            raise DataError(f"runs: {place} {kind}; must be folders of runs, or glob patterns of them")
        for root in roots:
            for found in _walk(root, seen):
                index.runs += [found] if isinstance(found, Run) else []
                index.evaluations += [found] if isinstance(found, Evaluation) else []
                index.others += found is None
    index.runs.sort(key=_numbers)
    index.evaluations.sort(key=_numbers)
    return index


def _walk(root: Path, seen: set[tuple[int, int]]) -> Iterator[Run | Evaluation | None]:
    """Yield each run and evaluation, and None for each other results.json."""
    todo = [str(root)]
    while todo:
        place = todo.pop()
        try:
            status = os.stat(place)  # noqa: PTH116 - a second faster than Path for ten thousand folders
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                files, folders = set(), []
                for entry in entries:
                    if entry.name in ("config.yaml", "results.json", JOB_FILE):
                        files |= {entry.name} if entry.is_file() else set()
                    elif not entry.name.startswith(".") and entry.is_dir():
                        folders.append(entry)
        except OSError as error:
            yield Run(Path(place), problem=f"cannot be read: {reason(error)}")
            continue
        todo += [entry.path for entry in folders if not (files and entry.name in NEVER_RUNS)]
        if "results.json" in files:
            yield read_results(Path(place), configured="config.yaml" in files)
        elif files and (run := _unfinished(Path(place))):
            yield run


def _unfinished(folder: Path) -> Run | None:
    """Explain why a run is not finished; None if its config.yaml belongs to another program."""
    run = Run(folder)
    if (job := read_job(folder)) and job.reason:
        run.problem = f"{job.state}: {job.reason}"
        return run
    try:
        settings = read_settings(folder)
    except DataError as error:
        return None if str(error) == NOT_OWN else Run(folder, problem=f"not finished (no results.json); {error}")
    if settings.get("seeds") or settings.get("folds"):
        return None  # each seed or fold has its own run in a subfolder
    try:
        done = len(run.epochs("epoch"))
    except DataError:
        done = 0
    limit = settings["trainer"].get("max_epochs") if isinstance(settings["trainer"], dict) else None
    run.problem = f"not finished (no results.json); {done} of at most {limit} epochs done"
    return run


def _numbers(found: Run | Evaluation) -> list[int | str]:
    """Split a path at its numbers, so that 10 sorts after 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(found.folder))]
