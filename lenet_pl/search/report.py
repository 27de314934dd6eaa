"""The report of a study: a table on the terminal, trials.csv and results.json."""

from __future__ import annotations

import math
import os
import statistics
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from lenet_pl.display.console import Console
from lenet_pl.display.text import as_csv, as_json
from lenet_pl.errors import printable
from lenet_pl.search.objective import show
from lenet_pl.search.trial_counts import REASON, RETRY_OF, crash_count, is_abandoned
from lenet_pl.settings.metric_mode import metric_mode


def state(trial: FrozenTrial, retries: int) -> str:
    """Return the state of a trial: complete, pruned, failed, lost (and repeated), running or waiting."""
    if is_abandoned(trial):
        return "failed" if crash_count(trial) > retries else "lost"
    return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())


def why(trial: FrozenTrial, retries: int) -> str:
    """Explain why a trial has no value of a complete training; empty if it has one."""
    if REASON in trial.user_attrs:
        return str(trial.user_attrs[REASON])
    if is_abandoned(trial):
        again = "" if crash_count(trial) > retries else ", repeated"
        return f"process stopped{again}"
    return f"pruned after epoch {trial.last_step}" if trial.state == TrialState.PRUNED else ""


def rank(trials: list[FrozenTrial], metric: str) -> list[FrozenTrial]:
    """Sort trials, best first: complete trials by value, then pruned trials by value, then the others by number."""
    smaller = metric_mode(metric) == "min"
    order = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1}

    def place(trial: FrozenTrial) -> tuple[int, float, int]:
        value = trial.value if trial.state in order and trial.value is not None else 0.0
        return order.get(trial.state, 2), value if smaller else -value, trial.number

    return sorted(trials, key=place)


def print_trials(trials: list[FrozenTrial], metric: str, rows: int, retries: int) -> None:
    """Print a table of the best trials, at most `rows` of them."""
    shown = rank(trials, metric)[:rows]
    reasons = {trial.number: printable(why(trial, retries)) for trial in shown if trial.state == TrialState.FAIL}
    table = Table()
    for heading in ("trial", metric, "state", "epochs"):
        table.add_column(heading, no_wrap=True)
    for heading in ("settings", "reason") if reasons else ("settings",):
        table.add_column(heading, overflow="fold")
    for trial in shown:
        value = "–" if trial.value is None else f"{trial.value:.4f}"
        epochs = trial.user_attrs.get("epochs", trial.last_step)
        cells = [str(trial.number), value, state(trial, retries), "–" if epochs is None else str(epochs)]
        cells += [show(trial.params), reasons.get(trial.number, "")]
        table.add_row(*cells[: len(table.columns)])
    console = Console()
    console.print(table)
    if len(trials) > rows:
        console.print(f"{len(trials) - rows} more trials in trials.csv; use search.max_rows= to show more")


def write_trials(path: Path, trials: list[FrozenTrial], keys: dict[str, str], retries: int) -> None:
    """Write all trials by number, with full precision.

    Args:
        path: The CSV file.
        trials: The trials of the study.
        keys: The parameter names in the study by the setting keys of the search space.
        retries: The maximum number of times that a trial whose process was killed is repeated.
    """
    extra = ("epochs", "best_epoch", "parameters", "training_seconds", RETRY_OF)
    headings = ["number", "value", "state", *keys, *extra, "reason", "begin", "end"]
    rows = [
        [t.number, t.value, state(t, retries)]
        + [t.params.get(name) for name in keys.values()]
        + [t.user_attrs.get(name) for name in extra]
        + [why(t, retries), t.datetime_start, t.datetime_complete]
        for t in trials
    ]
    write_whole(path, as_csv([headings, *rows]))


def summarize_seeds(trials: list[FrozenTrial], number: int) -> dict[str, Any] | None:
    """Compute mean and standard deviation (n - 1) of the test accuracy over seeds; None without completed trials."""
    done = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.user_attrs["seed"])
    if not done:
        return None
    scores = [float(t.user_attrs["metrics"]["test/accuracy"]) for t in done]
    return {
        "of_trial": number,
        "n": len(scores),
        "test/accuracy mean": statistics.fmean(scores),
        "test/accuracy std": statistics.stdev(scores) if len(scores) > 1 else None,
        "runs": [{"seed": t.user_attrs["seed"], **t.user_attrs["metrics"]} for t in done],
    }


def describe_seeds(seeds: dict[str, Any]) -> str:
    """Format the test accuracy over seeds as `mean ± std (n = N)`."""
    sd = seeds["test/accuracy std"]
    return f"{seeds['test/accuracy mean']:.4f} ± {'–' if sd is None else f'{sd:.4f}'} (n = {seeds['n']})"


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write results.json, with null for non-finite numbers."""
    write_whole(path, as_json(_finite(results), allow_nan=False))


def write_whole(path: Path, text: str) -> None:
    """Write a file atomically; several workers may do so at the same time."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
