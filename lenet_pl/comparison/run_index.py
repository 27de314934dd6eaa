"""Which runs lie in a folder, and what each says about itself. Light: thousands of runs are read in seconds."""

import csv
import glob
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from lenet_pl.comparison.setting_values import MISSING, dotted
from lenet_pl.errors import DataError, printable

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C is ten times as fast, where it was built
NEVER_RUNS = ("checkpoints", "tensorboard")  # folders inside a run
OWN_SETTINGS = {"seed", "data", "model", "trainer"}  # a config.yaml without these is another program's
Finite = Annotated[float, Field(ge=-1e30, le=1e30)]  # no NaN, and sums stay finite
Number = Annotated[int, Field(ge=0, le=2**63)]


class Results(BaseModel):
    """What a comparison needs of results.json."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: str
    data: str
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
    """

    folder: Path
    results: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def place(self) -> str:
        """The folder as text that can be printed."""
        return printable(str(self.folder))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What config.yaml holds, less the folder; empty if it is absent or damaged."""
        try:
            return read_settings(self.folder)
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
        path = self.folder / "metrics.csv"
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                return [float(row[column]) for row in csv.DictReader(stream)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise DataError(f"{path}: {_reason(error)}") from None


@dataclass
class RunIndex:
    """What a search found."""

    runs: list[Run]
    others: int = 0  # results.json of other tasks or programs


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
                index.others += found is None
    index.runs.sort(key=lambda run: [int(part) if part.isdigit() else part for part in _numbers(run.folder)])
    return index


def read_settings(folder: Path) -> dict[str, Any]:
    """Read a folder's config.yaml as lenet_pl.train writes it, less `run`, which is where it once lay.

    Each top-level key is parsed by itself and its value kept: runs of a sweep have most of them in common.

    Raises:
        DataError: the file is absent, damaged or another program's.
    """
    try:
        with open(f"{folder}/config.yaml", encoding="utf-8") as stream:  # noqa: PTH123 - as in _walk
            text = stream.read()
        settings: dict[str, Any] = {}
        for block in re.split(r"(?m)^(?=\w)", text):
            if block.strip() and not block.startswith("run:"):
                settings |= _parse(block)
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"config.yaml unreadable: {_reason(error)}") from None
    if not settings.keys() >= OWN_SETTINGS:
        raise DataError("config.yaml is not a training's settings")
    return settings


def _walk(root: Path, seen: set[tuple[int, int]]) -> Iterator[Run | None]:
    """Yield each run, and None for each results.json of something else."""
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
                    if entry.name in ("config.yaml", "results.json"):
                        files |= {entry.name} if entry.is_file() else set()
                    elif not entry.name.startswith(".") and entry.is_dir():
                        folders.append(entry)
        except OSError as error:
            yield Run(Path(place), problem=f"cannot be read: {_reason(error)}")
            continue
        todo += [entry.path for entry in folders if not (files and entry.name in NEVER_RUNS)]
        if "results.json" in files:
            yield _finished(Path(place), "config.yaml" in files)
        elif files and (run := _unfinished(Path(place))):
            yield run


def _finished(folder: Path, configured: bool) -> Run | None:
    try:
        with open(f"{folder}/results.json", "rb") as stream:  # noqa: PTH123 - as above
            content = from_json(stream.read())
    except (OSError, ValueError) as error:
        return Run(folder, problem=f"results.json unreadable: {_reason(error)}")
    task = content.get("task") if isinstance(content, dict) else None
    if task != "train":
        strange = task is None and configured
        return Run(folder, problem="results.json is not a training's results") if strange else None
    try:
        Results.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        came = "is absent" if first["type"] == "missing" else f"is {str(first['input'])[:40]}: {first['msg']}"
        return Run(folder, problem=f"results.json damaged: {key} {came}")
    return Run(folder, content)


def _unfinished(folder: Path) -> Run | None:
    """Say how far a run got; None if config.yaml is another program's."""
    run = Run(folder)
    try:
        settings = read_settings(folder)
    except DataError as error:
        foreign = str(error).endswith("not a training's settings")
        return None if foreign else Run(folder, problem=f"not finished (no results.json); {error}")
    try:
        done = len(run.epochs("epoch"))
    except DataError:
        done = 0
    limit = settings["trainer"].get("max_epochs") if isinstance(settings["trainer"], dict) else None
    run.problem = f"not finished (no results.json); {done} of at most {limit} epochs done"
    return run


@lru_cache(maxsize=10_000)
def _parse(block: str) -> dict[str, Any]:
    """Parse YAML without aliases, by which a small file can unfold to more than the memory."""
    if re.search(r"(^|\s)\*\S", block) and any(isinstance(t, yaml.AliasToken) for t in yaml.scan(block, Loader)):
        raise ValueError("aliases are not accepted")
    content = yaml.load(block, Loader)
    if not isinstance(content, dict):
        raise ValueError(f"got {block[:40].strip()!r} where a setting is expected")
    plain: dict[str, Any] = json.loads(json.dumps(content, sort_keys=True))  # a date, say, is a TypeError
    return plain


def _numbers(folder: Path) -> list[str]:
    """Split a path at its numbers, so that 10 comes after 9."""
    return re.split(r"(\d+)", str(folder))


def _reason(error: BaseException) -> str:
    """Say in a few words what is wrong with a file."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, KeyError):
        return f"no column {error}"
    return " ".join(str(error).split())[:120]
