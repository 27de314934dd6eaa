"""The report of a comparison: a table on the terminal, compare.md, compare.csv, runs.csv and compare.json."""

from pathlib import Path

from rich.measure import Measurement
from rich.table import Table

from lenet_pl.compare.groups import VALIDATION, Comparison, Group
from lenet_pl.compare.records import AVERAGES, group_record, metrics_of, run_record, write_records
from lenet_pl.compare.setting_values import LONGEST, show_short
from lenet_pl.compare.significance import MOST_SEEDS
from lenet_pl.display.console import Console
from lenet_pl.display.text import as_json, as_markdown
from lenet_pl.errors import printable

SPREAD = (
    "± is the standard deviation (n - 1) over n seeds, or over n folds of a cross-validation. Runs of the same seed or "
    "fold are averaged first."
)
INTERVALS = (
    "To the best: difference of the means with its 95% confidence interval (Student's t), paired by seed for at least "
    "three common seeds, otherwise Welch's. p is that of the t test, corrected for the number of comparisons on the "
    "dataset (Holm); the interval is not corrected. The best was selected on these runs, so a p just below 0.05 says "
    f"little. Do not select a model on the test split: rank by metric={VALIDATION}, then report the test accuracy of "
    "the best."
)
MORE_SEEDS = (
    "More seeds to show it: in each group, for a power of 0.8 after the correction, if difference and spread are as "
    "measured. With few seeds now, this is a rough number."
)


def print_comparison(comparison: Comparison, rows: int) -> None:
    """Print the first rows of the table, the notes, and the skipped runs."""
    console = Console()
    headings, fixed = _headings(comparison), len(comparison.by) + 3
    shown = len(headings)
    while shown > fixed and _width(console, _table(comparison, rows, shown)) > console.width:
        shown -= 1
    console.print(_table(comparison, rows, shown))
    if shown < len(headings):
        console.print(f"columns that do not fit here: {', '.join(headings[shown:])}; see compare.md")
    if len(comparison.groups) > rows:
        console.print(f"{len(comparison.groups) - rows} more groups in compare.md; use rows= to show more")
    for some in _remarks(comparison):
        for line in some[:rows]:
            console.print(line)
        if len(some) > rows:
            console.print(f"{len(some) - rows} more such lines in compare.md")
    for paragraph in _method(comparison):
        console.print(paragraph, style="dim")


def _table(comparison: Comparison, rows: int, columns: int) -> Table:
    """Build the table of the first rows and columns."""
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
    """Measure the width of a table in terminal columns."""
    return Measurement.get(console, console.options.update(width=1000), table).maximum


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write compare.md, compare.csv (one line per group), runs.csv (one line per run) and compare.json."""
    lines = [_headings(comparison), *(_cells(comparison, group) for group in comparison.groups)]
    markdown = [f"| {' | '.join(as_markdown(cell) for cell in line)} |" for line in lines]
    markdown.insert(1, "|" + "---|" * len(lines[0]))
    markdown += ["", *(f"- {as_markdown(line)}" for some in _remarks(comparison) for line in some), ""]
    markdown += _method(comparison)
    (folder / "compare.md").write_text("\n".join(markdown) + "\n", encoding="utf-8")
    groups = [group_record(comparison, group) for group in comparison.groups]
    runs = [run_record(comparison, group, run) for group in comparison.groups for run in group.runs]
    write_records(folder / "compare.csv", groups)
    left_out = [{"folder": run.place, "problem": run.problem} for run in comparison.problems]
    write_records(folder / "runs.csv", [*runs, *left_out])
    content = {
        "task": "compare",
        "by": comparison.by,
        "metric": comparison.metric,
        "method": "\n".join(_method(comparison)),
        "groups": groups,
        "test_uses": [uses.record() for uses in comparison.uses],
        "notes": comparison.notes,
        "problems": left_out,
        "results_of_other_tasks_or_programs": comparison.others,
    }
    text = as_json(content, allow_nan=False, default=str)
    (folder / "compare.json").write_text(text, encoding="utf-8")


def _method(comparison: Comparison) -> list[str]:
    """Explain the statistics that the table contains."""
    spread = any(group.sd is not None for group in comparison.groups)
    found = [group.difference_to_best for group in comparison.groups if group.difference_to_best]
    intervals = any(one.low is not None for one in found)
    plans = any(one.more_seeds is not None for one in found)
    return [SPREAD] * spread + [INTERVALS] * intervals + [MORE_SEEDS] * plans


def _headings(comparison: Comparison) -> list[str]:
    names = {"test/accuracy": "test accuracy", VALIDATION: "validation accuracy"}
    metrics = [names.get(metric, metric) for metric in metrics_of(comparison)]
    return [*comparison.by, "n", metrics[0], "to the best", *metrics[1:], *(name for name, _ in AVERAGES.values())]


def _cells(comparison: Comparison, group: Group, break_at: str = " ") -> list[str]:
    metrics = [_mean_sd(group.metric(metric)) for metric in metrics_of(comparison)]
    averages = [_number(group.average(key), form) for key, (_, form) in AVERAGES.items()]
    values = [show_short(value) for value in group.values]
    return [*values, str(len(group.scores)), metrics[0], _to_best(group, break_at), *metrics[1:], *averages]


def _mean_sd(figures: tuple[float, float | None] | None) -> str:
    return "–" if figures is None else f"{figures[0]:.4f} ± {_number(figures[1], '.4f')}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _to_best(group: Group, break_at: str) -> str:
    """Format the difference to the best with its method, and if there are any its interval, p and further seeds."""
    if group.difference_to_best is None:
        return "best"
    found = group.difference_to_best
    if found.low is None or found.high is None:
        return f"{found.mean:+.4f}{break_at}({found.method})"
    interval = f"[{found.low:+.4f}, {found.high:+.4f}], {_p(found.corrected_p)}"
    return f"{found.mean:+.4f} ({found.method}){break_at}{interval}{_more_seeds(found.more_seeds, break_at)}"


def _p(value: float | None) -> str:
    return "p=–" if value is None else "p<0.001" if value < 0.001 else f"p={value:.2g}"


def _more_seeds(count: int | None, break_at: str) -> str:
    """Say how many more seeds would show a difference; nothing if it is shown, or if that cannot be told."""
    if count is None:
        return ""
    number = f"over {count - 1:,}" if count == MOST_SEEDS else f"{count:,}"
    return f",{break_at}{number} more seed{'s' * (count != 1)} to show it"


def _remarks(comparison: Comparison) -> list[list[str]]:
    """List the remarks below the table, one line each: uses of the test splits, notes, skipped runs, other results."""
    others = [f"skipped: {comparison.others} results.json of other tasks or programs"] if comparison.others else []
    return [
        [uses.describe() for uses in comparison.uses],
        [f"note: {note}" for note in comparison.notes],
        [f"skipped: {run.place}: {printable(str(run.problem))}" for run in comparison.problems],
        others,
    ]
