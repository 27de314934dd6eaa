"""The lines of compare.csv, compare.json and runs.csv, with full precision."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lenet_pl.compare.groups import VALIDATION, Comparison, Group
from lenet_pl.compare.run import Run
from lenet_pl.compare.setting_values import MISSING, show
from lenet_pl.display.text import as_csv

AVERAGES = {
    "parameters": ("parameters", ",.0f"),
    "training_seconds": ("training s", ",.1f"),
    "epochs": ("epochs", ".1f"),
    "images_per_second": ("images/s", ",.0f"),
}


def metrics_of(comparison: Comparison) -> list[str]:
    """List the ranking metric, then test and validation accuracy."""
    return list(dict.fromkeys([comparison.metric, "test/accuracy", VALIDATION]))


def group_record(comparison: Comparison, group: Group) -> dict[str, Any]:
    """Build the line of compare.csv for a group, with full precision."""
    record = dict(zip(comparison.by, map(_value, group.values), strict=True))
    record |= {"n": len(group.scores), "runs": len(group.runs), "best": group.best}
    for metric in metrics_of(comparison):
        record[f"{metric} mean"], record[f"{metric} std"] = group.metric(metric) or (None, None)
    found = group.difference_to_best
    parts: dict[str, Callable[[Any], Any]] = {
        "difference": lambda d: d.mean,
        "low": lambda d: d.low,
        "high": lambda d: d.high,
        "interval": lambda d: d.method,
        "p": lambda d: d.p,
        "corrected p": lambda d: d.corrected_p,
        "more seeds": lambda d: d.more_seeds,
    }
    record |= {f"to best {name}": part(found) if found else None for name, part in parts.items()}
    return record | {key: group.average(key) for key in AVERAGES}


def run_record(comparison: Comparison, group: Group, run: Run) -> dict[str, Any]:
    """Build the line of runs.csv for a run."""
    values = dict(zip(comparison.by, map(_value, group.values), strict=True))
    figures = {key: run.results[key] for key in AVERAGES}
    own = {"seed": run.results["seed"], "git_commit": run.results.get("git_commit"), "problem": None}
    return {"folder": run.place, **values, **own, **run.results["metrics"], **figures}


def _value(value: Any) -> Any:
    """Convert a value for JSON and CSV; NaN, lists and mappings become text."""
    plain = value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return None if value is MISSING else value if plain else show(value)


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records as CSV; a column that a record lacks stays empty."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = as_csv([columns, *([record.get(column) for column in columns] for record in records)])
    path.write_text(text, encoding="utf-8", newline="")
