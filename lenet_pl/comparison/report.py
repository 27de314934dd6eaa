"""A comparison as a table on the terminal, and as compare.md, compare.csv, runs.csv and compare.json."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.measure import Measurement
from rich.table import Table

from lenet_pl.comparison.groups import VALIDATION, Comparison, Group
from lenet_pl.comparison.setting_values import LONGEST, MISSING, show
from lenet_pl.console import Console
from lenet_pl.errors import printable
from lenet_pl.text import as_csv, as_json, as_markdown

AVERAGES = {
    "parameters": ("parameters", ",.0f"),
    "training_seconds": ("training s", ",.1f"),
    "epochs": ("epochs", ".1f"),
    "images_per_second": ("images/s", ",.0f"),
}
SPREAD = "± is the standard deviation (n-1) over seeds, n the number of seeds; a seed's runs are averaged first."
INTERVALS = (
    "To the best: difference of the means with its 95% interval by Student's t, paired by seed where at least three "
    "seeds are common, else Welch's. The best was chosen on these runs and nothing is corrected for comparing many, so "
    "an interval that just leaves out 0 says little. What chooses a model on the test part spends it: rank by "
    f"metric={VALIDATION} to choose, and read the test accuracy of that one."
)


def print_comparison(comparison: Comparison, rows: int) -> None:
    """Print the first rows of the table, what is questionable, and runs that are left out."""
    console = Console()
    headings, fixed = _headings(comparison), len(comparison.by) + 3
    shown = len(headings)
    while shown > fixed and _width(console, _table(comparison, rows, shown)) > console.width:
        shown -= 1
    console.print(_table(comparison, rows, shown))
    if shown < len(headings):
        console.print(f"no room here for {', '.join(headings[shown:])}: see compare.md")
    if len(comparison.groups) > rows:
        console.print(f"and {len(comparison.groups) - rows} more groups, which are in compare.md; rows= shows more")
    for some in _remarks(comparison):
        for line in some[:rows]:
            console.print(line)
        if len(some) > rows:
            console.print(f"and {len(some) - rows} more such lines, which are in compare.md")
    for paragraph in _method(comparison):
        console.print(paragraph, style="dim")


def _table(comparison: Comparison, rows: int, columns: int) -> Table:
    """Lay out the first rows and columns."""
    table = Table()
    for heading in _headings(comparison)[:columns]:
        table.add_column(heading, overflow="fold", max_width=LONGEST)
    previous = None
    for group in comparison.groups[:rows]:
        if previous not in (None, group.data):
            table.add_section()
        previous = group.data
        table.add_row(*_cells(comparison, group, "\n")[:columns], style="bold" if group.best else None)
    return table


def _width(console: Console, table: Table) -> int:
    """How many columns of the terminal a table would fill."""
    return Measurement.get(console, console.options.update(width=1000), table).maximum


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write compare.md, compare.csv (a line for each group), runs.csv (for each run) and compare.json."""
    lines = [_headings(comparison), *(_cells(comparison, group) for group in comparison.groups)]
    markdown = [f"| {' | '.join(as_markdown(cell) for cell in line)} |" for line in lines]
    markdown.insert(1, "|" + "---|" * len(lines[0]))
    markdown += ["", *(f"- {as_markdown(line)}" for some in _remarks(comparison) for line in some), ""]
    markdown += _method(comparison)
    (folder / "compare.md").write_text("\n".join(markdown) + "\n", encoding="utf-8")
    groups = [_record(comparison, group) for group in comparison.groups]
    runs = [_run_record(comparison, group, place) for group in comparison.groups for place in range(len(group.runs))]
    _write_csv(folder / "compare.csv", groups)
    left_out = [{"folder": run.place, "problem": run.problem} for run in comparison.problems]
    _write_csv(folder / "runs.csv", [*runs, *left_out])
    content = {
        "task": "compare",
        "by": comparison.by,
        "metric": comparison.metric,
        "method": "\n".join(_method(comparison)),
        "groups": groups,
        "notes": comparison.notes,
        "problems": left_out,
        "results_of_other_tasks_or_programs": comparison.others,
    }
    text = as_json(content, allow_nan=False, default=str)
    (folder / "compare.json").write_text(text, encoding="utf-8")


def _method(comparison: Comparison) -> list[str]:
    """Say how the figures came about, those that are in the table."""
    spread = any(group.sd is not None for group in comparison.groups)
    intervals = any(group.to_best and group.to_best.low is not None for group in comparison.groups)
    return [SPREAD] * spread + [INTERVALS] * intervals


def _metrics(comparison: Comparison) -> list[str]:
    """The metric that ranks, then test and validation accuracy."""
    return list(dict.fromkeys([comparison.metric, "test/accuracy", VALIDATION]))


def _headings(comparison: Comparison) -> list[str]:
    names = {"test/accuracy": "test accuracy", VALIDATION: "validation accuracy"}
    metrics = [names.get(metric, metric) for metric in _metrics(comparison)]
    return [*comparison.by, "n", metrics[0], "to the best", *metrics[1:], *(name for name, _ in AVERAGES.values())]


def _cells(comparison: Comparison, group: Group, break_at: str = " ") -> list[str]:
    metrics = [_mean_sd(group.metric(metric)) for metric in _metrics(comparison)]
    averages = [_number(group.average(key), form) for key, (_, form) in AVERAGES.items()]
    values = [show(value) for value in group.values]
    return [*values, str(len(group.scores)), metrics[0], _to_best(group, break_at), *metrics[1:], *averages]


def _mean_sd(figures: tuple[float, float | None] | None) -> str:
    return "–" if figures is None else f"{figures[0]:.4f} ± {_number(figures[1], '.4f')}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _to_best(group: Group, break_at: str) -> str:
    """The difference, its interval or why there is none, and how it was found."""
    if group.to_best is None:
        return "best"
    found = group.to_best
    if found.low is None or found.high is None:
        return f"{found.mean:+.4f}{break_at}({found.method})"
    return f"{found.mean:+.4f} ({found.method}){break_at}[{found.low:+.4f}, {found.high:+.4f}]"


def _remarks(comparison: Comparison) -> list[list[str]]:
    """What to know beside the table, a line each: what is questionable, left out, passed over."""
    others = [f"passed over: {comparison.others} results.json of other tasks or programs"] if comparison.others else []
    return [
        [f"note: {note}" for note in comparison.notes],
        [f"left out: {run.place}: {printable(str(run.problem))}" for run in comparison.problems],
        others,
    ]


def _record(comparison: Comparison, group: Group) -> dict[str, Any]:
    """A group as one line of compare.csv, with full precision."""
    record = dict(zip(comparison.by, map(_value, group.values), strict=True))
    record |= {"n": len(group.scores), "runs": len(group.runs), "best": group.best}
    for metric in _metrics(comparison):
        record[f"{metric} mean"], record[f"{metric} sd"] = group.metric(metric) or (None, None)
    found = group.to_best
    parts: dict[str, Callable[[Any], Any]] = {
        "difference": lambda d: d.mean,
        "low": lambda d: d.low,
        "high": lambda d: d.high,
        "interval": lambda d: d.method,
    }
    record |= {f"to best {name}": part(found) if found else None for name, part in parts.items()}
    return record | {key: group.average(key) for key in AVERAGES}


def _run_record(comparison: Comparison, group: Group, place: int) -> dict[str, Any]:
    """A run as one line of runs.csv."""
    run = group.runs[place]
    values = dict(zip(comparison.by, map(_value, group.values), strict=True))
    figures = {key: run.results[key] for key in AVERAGES}
    own = {"seed": run.results["seed"], "git_commit": run.results.get("git_commit"), "problem": None}
    return {"folder": run.place, **values, **own, **run.results["metrics"], **figures}


def _value(value: Any) -> Any:
    """A value as JSON and CSV take it; NaN, lists and the like become text."""
    plain = value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return None if value is MISSING else value if plain else show(value)


def _write_csv(path: Path, records: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for record in records for key in record))
    text = as_csv([columns, *([record.get(column) for column in columns] for record in records)])
    path.write_text(text, encoding="utf-8", newline="")
