"""One run folder, and one output folder of `evaluate`."""

import csv
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lenet_pl.compare.setting_values import MISSING, dotted
from lenet_pl.errors import DataError, printable
from lenet_pl.settings.config_file import read_settings, reason


@dataclass(eq=False)
class Run:
    """A run folder.

    Attributes:
        folder: The folder that contains config.yaml or results.json.
        results: The content of results.json; empty for a run with a problem.
        problem: The reason why the run has no results; None for a finished run.
        origin: The folder with the settings and metrics.csv; None if it is `folder`.
    """

    folder: Path
    results: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    origin: Path | None = None

    @property
    def place(self) -> str:
        """The path of the folder, safe to print."""
        return printable(str(self.folder))

    @property
    def replicate(self) -> int | str:
        """Which repetition of a recipe it is: the seed, or "fold <number>" in a cross-validation."""
        fold, seed = self.results.get("fold"), int(self.results["seed"])
        return seed if fold is None else f"fold {fold}"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The content of config.yaml without the run folder; empty if the file is missing or corrupt."""
        try:
            return read_settings(self.origin or self.folder)
        except DataError:
            return {}

    def value(self, key: str) -> Any:
        """Look up a dotted key in the results, then in the settings; MISSING if neither has it.

        The value of a group of settings such as `optimizer` is its `name`, or MISSING if it has none.
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
        """Return all dotted keys for which `value` finds one."""
        return {key for key in dotted(self.settings) | dotted(self.results) if self.value(key) is not MISSING}

    def epochs(self, column: str) -> list[float]:
        """Read a column of metrics.csv, one number per epoch, NaN where the cell is empty.

        Raises:
            DataError: The file is missing or corrupt.
        """
        path = (self.origin or self.folder) / "metrics.csv"
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                return [float(row[column] or "nan") for row in csv.DictReader(stream)]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise DataError(f"{path}: {reason(error)}") from None


@dataclass(frozen=True)
class Evaluation:
    """An output folder of `evaluate`, with the content of its results.json."""

    folder: Path
    content: dict[str, Any]
