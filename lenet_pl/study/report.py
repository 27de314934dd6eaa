"""A study as a table on the terminal, and as trials.csv, results.json and the best settings."""

from __future__ import annotations

import math
import os
import statistics
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from lenet_pl.console import Console
from lenet_pl.errors import printable
from lenet_pl.metric_mode import metric_mode
from lenet_pl.study.objective import show
from lenet_pl.study.shared import REASON, RETRY_OF, deaths, is_lost
from lenet_pl.text import as_csv, as_json


def state(trial: FrozenTrial, retries: int) -> str:
    """How a trial ended: complete, pruned, failed, lost (and begun again), running or waiting."""
    if is_lost(trial):
        return "failed" if deaths(trial) > retries else "lost"
    return {TrialState.FAIL: "failed"}.get(trial.state, trial.state.name.lower())


def why(trial: FrozenTrial, retries: int) -> str:
    """Why a trial has no value of a whole training."""
    if REASON in trial.user_attrs:
        return str(trial.user_attrs[REASON])
    if is_lost(trial):
        again = "" if deaths(trial) > retries else ", begun again"
        return f"its process was stopped{again}"
    return f"pruned after epoch {trial.last_step}" if trial.state == TrialState.PRUNED else ""


def rank(trials: list[FrozenTrial], metric: str) -> list[FrozenTrial]:
    """Best first: complete trials by their value of the metric, then pruned ones, then the rest by number."""
    smaller = metric_mode(metric) == "min"
    order = {TrialState.COMPLETE: 0, TrialState.PRUNED: 1}

    def place(trial: FrozenTrial) -> tuple[int, float, int]:
        value = trial.value if trial.state in order and trial.value is not None else 0.0
        return order.get(trial.state, 2), value if smaller else -value, trial.number

    return sorted(trials, key=place)


def print_trials(trials: list[FrozenTrial], metric: str, rows: int, retries: int) -> None:
    """Print the first rows of the table of trials, best first."""
    shown = rank(trials, metric)[:rows]
    told = {trial.number: printable(why(trial, retries)) for trial in shown if trial.state == TrialState.FAIL}
    table = Table()
    for heading in ("trial", metric, "state", "epochs"):
        table.add_column(heading, no_wrap=True)
    for heading in ("settings", "reason") if told else ("settings",):
        table.add_column(heading, overflow="fold")
    for trial in shown:
        value = "–" if trial.value is None else f"{trial.value:.4f}"
        epochs = trial.user_attrs.get("epochs", trial.last_step)
        cells = [str(trial.number), value, state(trial, retries), "–" if epochs is None else str(epochs)]
        cells += [show(trial.params), told.get(trial.number, "")]
        table.add_row(*cells[: len(table.columns)])
    console = Console()
    console.print(table)
    if len(trials) > rows:
        console.print(f"and {len(trials) - rows} more trials, which are in trials.csv; search.rows= shows more")


def write_trials(path: Path, trials: list[FrozenTrial], keys: list[str], retries: int) -> None:
    """Write every trial with full precision, in the order of their numbers."""
    extra = ("epochs", "best_epoch", "parameters", "training_seconds", RETRY_OF)
    headings = ["number", "value", "state", *keys, *extra, "reason", "begin", "end"]
    rows = [
        [t.number, t.value, state(t, retries)]
        + [t.params.get(key) for key in keys]
        + [t.user_attrs.get(name) for name in extra]
        + [why(t, retries), t.datetime_start, t.datetime_complete]
        for t in trials
    ]
    write_whole(path, as_csv([headings, *rows]))


def summarise_seeds(trials: list[FrozenTrial], number: int) -> dict[str, Any] | None:
    """Mean and standard deviation (n - 1) of the test accuracy over seeds; None without any."""
    done = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.user_attrs["seed"])
    if not done:
        return None
    scores = [float(t.user_attrs["metrics"]["test/accuracy"]) for t in done]
    return {
        "of_trial": number,
        "n": len(scores),
        "test/accuracy mean": statistics.fmean(scores),
        "test/accuracy sd": statistics.stdev(scores) if len(scores) > 1 else None,
        "runs": [{"seed": t.user_attrs["seed"], **t.user_attrs["metrics"]} for t in done],
    }


def describe_seeds(seeds: dict[str, Any]) -> str:
    """Mean ± sd (n)."""
    sd = seeds["test/accuracy sd"]
    return f"{seeds['test/accuracy mean']:.4f} ± {'–' if sd is None else f'{sd:.4f}'} (n = {seeds['n']})"


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write results.json."""
    write_whole(path, as_json(_finite(results), allow_nan=False))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; several workers may do so at once."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", newline="")
    part.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
