"""Loggers of experiment trackers: a resumed run continues in the same logger run, without a point twice."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lenet_pl.display.text import as_json
from lenet_pl.engine.loggers.interface import Params, RunLogger
from lenet_pl.errors import DataError, display_path
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.folder_lock import JOB_FILE
from lenet_pl.settings import TrainSettings

RECORDS = "logger_runs.json"  # in the run folder
RUN_ID = re.compile(r"[0-9a-z]{8,32}")
Points = list[tuple[int, dict[str, float]]]


@dataclass
class LoggerRun:
    """What a run folder records of a logger run.

    Attributes:
        run_id: The id that the tracker knows the run by; None before the run exists.
        step: The largest optimizer step with logged metrics.
        names: The metrics that were logged at that step.
    """

    run_id: str | None = None
    step: int = -1
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Label:
    """How a run is presented to its readers.

    Attributes:
        name: A short name, from the run folder.
        group: The folder of the command that trains several times, such as a sweep; None for a single training.
        tags: Tags, each a word or <name>:<value>.
        notes: A description.
    """

    name: str
    group: str | None
    tags: list[str]
    notes: str | None


def label_of(settings: TrainSettings, folder: Path) -> Label:
    """Describe the run in a folder. Trainings of the same sweep, seeds or search are a group."""
    place = folder.absolute()
    top = place
    if (top.parent / "config.yaml").exists():  # one of several seeds
        top = top.parent
    if (top / JOB_FILE).exists():  # a job of a sweep
        top = top.parent
    elif top.parent.name == "trials":
        top = top.parent.parent
    name = place.relative_to(top.parent).as_posix()
    return Label(name, display_path(top) if top != place else None, settings.tags, settings.notes)


def read_records(folder: Path) -> dict[str, LoggerRun]:
    """Read the logger runs of a run folder, by product; empty if there are none.

    Raises:
        DataError: The file is corrupt.
    """
    path = folder / RECORDS
    try:
        found = {str(name): LoggerRun(**values) for name, values in json.loads(path.read_text("utf-8")).items()}
        for record in found.values():
            if not (RUN_ID.fullmatch(str(record.run_id)) and isinstance(record.step, int)):
                raise ValueError(record.run_id)
            record.names = [str(name) for name in record.names]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not the logger runs of a training ({type(error).__name__}); remove it to start new ones"
        ) from None
    return found


class TrackingLogger(RunLogger):
    """Logger that sends the points of an epoch together, in the order of their steps, and each only once.

    After `kill -9` a resumed run repeats steps whose metrics were sent before; these are left out.

    Args:
        folder: The run folder, which records the id of the logger run.
        record: The logger run that is continued, or a new one.
        kwargs: The arguments of Lightning's logger.
    """

    def __init__(self, folder: Path, record: LoggerRun, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.folder, self.record = folder, record
        self._points: dict[int, dict[str, float]] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.attempt(self._points.setdefault(step or 0, {}).update, metrics)

    def save(self) -> None:
        # Lightning calls it after the validation, whose step is larger than those of the losses that follow
        if max(self._points, default=0) <= self.record.step:
            self.flush()

    def flush(self) -> None:
        self.attempt(self._flush)

    def finalize(self, status: str) -> None:
        self.flush()  # the run continues with the test and the figures, and ends with `close`

    def _flush(self) -> None:
        points: Points = []
        for step, metrics in sorted(self._points.items()):
            known = self.record.names if step == self.record.step else ()
            new = {name: value for name, value in metrics.items() if name not in known}
            if step >= self.record.step and new:
                points.append((step, new))
        self._points = {}
        if points:
            self._write(points)
            step, last = points[-1]
            earlier = self.record.names if step == self.record.step else []
            self.record.step, self.record.names = step, [*earlier, *last]
            self._remember()

    def _write(self, points: Points) -> None:
        """Send points in the order of their steps."""
        raise NotImplementedError

    def _log_end(self, params: Params, metrics: Any, step: int) -> None:
        self._points.setdefault(step, {}).update(metrics)
        self._flush()

    def _remember(self) -> None:
        """Record the logger run in the run folder."""
        records = read_records(self.folder) | {self.product: self.record}
        write_text(self.folder / RECORDS, as_json({name: asdict(record) for name, record in records.items()}))
