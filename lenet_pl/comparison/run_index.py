"""Which runs lie in a folder, and what each says about itself. Light: thousands of runs are read in seconds."""

import csv
import glob
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from lenet_pl.comparison.setting_values import MISSING, dotted
from lenet_pl.errors import DataError, printable
from lenet_pl.settings.recorded import NOT_OWN, read_settings, reason
from lenet_pl.sweep import RECORD, read_job

NEVER_RUNS = ("checkpoints", "tensorboard")  # folders inside a run
Finite = Annotated[float, Field(ge=-1e30, le=1e30)]  # no NaN, and sums stay finite
Number = Annotated[int, Field(ge=0, le=2**63)]


class Results(BaseModel):
    """What a comparison needs of results.json."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str
    data: str
    data_digest: str | None = None  # of a set that was not verified against published digests
    seed: Number
    parameters: Number
    epochs: Number
    images: dict[str, Number]
    metrics: dict[str, Finite]
    training_seconds: Finite
    images_per_second: Finite | None


@dataclass(eq=False)
class Run:
    """One run folder.

    Attributes:
        folder: that holds config.yaml or results.json.
        results: what results.json holds; empty for a run with a problem.
        problem: why it has no results; None for a finished run.
        origin: folder with the settings and epochs, if it is another.
    """

    folder: Path
    results: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    origin: Path | None = None

    @property
    def place(self) -> str:
        """The folder as text that can be printed."""
        return printable(str(self.folder))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What config.yaml holds, less the folder; empty if it is absent or damaged."""
        try:
            return read_settings(self.origin or self.folder)
        except DataError:
            return {}

    def value(self, key: str) -> Any:
        """Look up a dotted key in the results, then in the settings; MISSING if neither has it.

        A group of settings that has a name, such as `optimizer`, stands for its name; another is MISSING.
        """
        for source in ("results", "settings"):
            value: Any = getattr(self, source)
            for part in key.split("."):
                value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
            if isinstance(value, dict):
                value = value.get("name", MISSING)
            if value is not MISSING:
                return value
        return MISSING

    def keys(self) -> set[str]:
        """List every dotted key that `value` finds."""
        return {key for key in dotted(self.settings) | dotted(self.results) if self.value(key) is not MISSING}

    def epochs(self, column: str) -> list[float]:
        """Read a column of metrics.csv, one figure for each epoch.

        Raises:
            DataError: the file is absent or damaged.
        """
        path = (self.origin or self.folder) / "metrics.csv"
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                return [float(row[column]) for row in csv.DictReader(stream)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise DataError(f"{path}: {reason(error)}") from None


@dataclass(frozen=True)
class Evaluation:
    """A folder that `evaluate` filled, and what its results.json says."""

    folder: Path
    content: dict[str, Any]


@dataclass
class RunIndex:
    """What a search found."""

    runs: list[Run]
    evaluations: list[Evaluation] = field(default_factory=list)
    others: int = 0  # results.json of further tasks or other programs

    @property
    def passed_over(self) -> int:
        """How many results.json are of no run."""
        return self.others + len(self.evaluations)


def find_runs(places: Iterable[str]) -> RunIndex:
    """Find all runs in folders at any depth; symbolic links are followed, no folder is read twice.

    Args:
        places: folders or globs of folders.

    Raises:
        DataError: a place is no folder, or a glob matches none.
    """
    index, seen = RunIndex([]), set[tuple[int, int]]()
    for place in places:
        matches = sorted(glob.glob(place, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
        roots = [Path(path) for path in matches if Path(path).is_dir()]
        if Path(place).is_dir():  # its name may hold brackets
            roots = [Path(place)]
        if not roots:
            kind = "matches no folder" if glob.has_magic(place) else "is not a folder"
            raise DataError(f"runs: {place} {kind}; accepted are folders, or globs of folders, that hold runs")
        for root in roots:
            for found in _walk(root, seen):
                index.runs += [found] if isinstance(found, Run) else []
                index.evaluations += [found] if isinstance(found, Evaluation) else []
                index.others += found is None
    index.runs.sort(key=_numbers)
    index.evaluations.sort(key=_numbers)
    return index


def _walk(root: Path, seen: set[tuple[int, int]]) -> Iterator[Run | Evaluation | None]:
    """Yield each run and evaluation, and None for each results.json of something else."""
    todo = [str(root)]
    while todo:
        place = todo.pop()
        try:
            status = os.stat(place)  # noqa: PTH116 - ten thousand paths as text take a second less than as Path
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                files, folders = set(), []
                for entry in entries:
                    if entry.name in ("config.yaml", "results.json", RECORD):
                        files |= {entry.name} if entry.is_file() else set()
                    elif not entry.name.startswith(".") and entry.is_dir():
                        folders.append(entry)
        except OSError as error:
            yield Run(Path(place), problem=f"cannot be read: {reason(error)}")
            continue
        todo += [entry.path for entry in folders if not (files and entry.name in NEVER_RUNS)]
        if "results.json" in files:
            yield _read_results(Path(place), configured="config.yaml" in files)
        elif files and (run := _unfinished(Path(place))):
            yield run


def read_finished(folder: Path) -> Run | None:
    """Read the results of a training; None if the folder holds none of one."""
    found = _read_results(folder, configured=True)
    return found if isinstance(found, Run) else None


def damage(error: ValidationError) -> str:
    """Say in one line what is wrong with a results.json."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    came = "is absent" if first["type"] == "missing" else f"is {str(first['input'])[:40]}: {first['msg']}"
    return f"results.json damaged: {key} {came}"


def _read_results(folder: Path, *, configured: bool) -> Run | Evaluation | None:
    try:
        with open(f"{folder}/results.json", "rb") as stream:  # noqa: PTH123 - as above
            content = _parse(stream.read())
    except (OSError, ValueError, RecursionError) as error:
        return Run(folder, problem=f"results.json unreadable: {reason(error)}")
    task = content.get("task") if isinstance(content, dict) else None
    if task == "evaluate":
        return Evaluation(folder, content)
    if task != "train":
        strange = task is None and configured
        return Run(folder, problem="results.json is not a training's results") if strange else None
    try:
        Results.model_validate(content)
    except ValidationError as error:
        return Run(folder, problem=damage(error))
    return Run(folder, content)


def _parse(content: bytes) -> Any:
    """Read JSON in the fastest way, which refuses the lone surrogates of file names in another encoding."""
    try:
        return from_json(content)
    except ValueError:
        if b"\\ud" not in content:
            raise
        return json.loads(content)


def _unfinished(folder: Path) -> Run | None:
    """Say why a run did not finish, or how far it got; None if config.yaml is another program's."""
    run = Run(folder)
    if (job := read_job(folder)) and job.reason:
        run.problem = f"{job.state}: {job.reason}"
        return run
    try:
        settings = read_settings(folder)
    except DataError as error:
        foreign = str(error) == NOT_OWN
        return None if foreign else Run(folder, problem=f"not finished (no results.json); {error}")
    if settings.get("seeds"):
        return None  # the run of each seed lies in a folder of its own below
    try:
        done = len(run.epochs("epoch"))
    except DataError:
        done = 0
    limit = settings["trainer"].get("max_epochs") if isinstance(settings["trainer"], dict) else None
    run.problem = f"not finished (no results.json); {done} of at most {limit} epochs done"
    return run


def _numbers(found: Run | Evaluation) -> list[int | str]:
    """Split a path at its numbers, so that 10 comes after 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(found.folder))]
