"""Repetition of a row of the leaderboard: whether its recipe still gives its accuracy."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lenet_pl.benchmark.compare_loops import first_available_dataset, log_progress
from lenet_pl.benchmark.leaderboard import Row, find_row, read_rows
from lenet_pl.errors import DataError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose
from lenet_pl.train import train

QUIET = ("report=none", "logger=none", "callbacks.progress_bar=false", "callbacks.model_summary=false")


def repeat_row(settings: BenchmarkSettings, folder: Path) -> dict[str, Any]:
    """Train the recipe of a row with the first of its seeds, and compare the mean test accuracy with the row's.

    Args:
        settings: The settings of the benchmark, with the file, the row and the number of seeds.
        folder: An existing folder for the runs.

    Returns:
        The figures of `judge`, with `precision`, `recorded_precision` and `seconds` (training time of a seed).

    Raises:
        DataError: The file or the dataset is missing, or the row cannot be repeated.
    """
    row = find_row(read_rows(Path(settings.leaderboard_file)), settings.leaderboard_row)
    if not row.recipe or len(row.seeds) < 2 or row.tta_copies > 1 or row.prediction(1) is None:
        raise DataError(
            f"leaderboard_row: {row.id} has no recipe, seeds or spread, or is with TTA; must be a row that `train` "
            "alone repeats"
        )
    if first_available_dataset(settings, [row.data]) is None:
        raise DataError(f"leaderboard_row: {row.id} needs {row.data}, which is not on this machine; set data_root=")
    seeds = row.seeds[: settings.seeds]
    results = []
    for seed in seeds:
        log_progress(f"leaderboard: {row.id}, seed {seed}")
        own = [
            f"run={folder / str(seed)}",
            f"seed={seed}",
            f"data_root={settings.data_root}",
            "trainer.accelerator=cpu",
        ]
        own += ["trainer.num_threads=1", *QUIET]
        given = compose("train", TrainSettings, [*row.recipe.split(), *own])
        with contextlib.redirect_stdout(io.StringIO()):
            results.append(train(given, folder / str(seed)))
    return judge(row, [one["metrics"]["test/accuracy"] for one in results]) | {
        "precision": results[0]["precision"],
        "recorded_precision": row.precision,
        "seconds": round(fmean(one["training_seconds"] for one in results), 1),
    }


def judge(row: Row, scores: Sequence[float]) -> dict[str, Any]:
    """Compare the scores of some seeds with a row.

    Returns:
        `row`, `recorded` (mean of the row), `scores`, `mean`, `sd` (None for one seed), `low` and `high` (the 95%
        prediction interval of the row for a mean of so many seeds), and `inside`.
    """
    low, high = row.prediction(len(scores)) or (0.0, 1.0)
    mean = fmean(scores)
    return {
        "row": row.id,
        "recorded": row.mean,
        "scores": list(scores),
        "mean": round(mean, 5),
        "sd": round(stdev(scores), 5) if len(scores) > 1 else None,
        "low": round(low, 5),
        "high": round(high, 5),
        "inside": low <= mean <= high,
    }


def check_inside(found: dict[str, Any]) -> None:
    """Raise an error unless the mean is inside the interval.

    Raises:
        DataError: It is outside.
    """
    if not found["inside"]:
        raise DataError(
            f"leaderboard_row: {found['row']} has a mean of {found['mean']:.4f} over {len(found['scores'])} seeds; "
            f"must be within [{found['low']:.4f}, {found['high']:.4f}] around the recorded {found['recorded']:.4f}"
        )


def row_table(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Build the lines of the table, the headings first."""
    sd = "" if found["sd"] is None else f" ± {found['sd']:.4f}"
    same = found["precision"] == found["recorded_precision"]
    precision = found["precision"] + ("" if same else f", recorded in {found['recorded_precision']}")
    interval = f"[{found['low']:.4f}, {found['high']:.4f}]"
    figures = (str(len(found["scores"])), f"{found['mean']:.4f}{sd}", f"{found['recorded']:.4f}", interval)
    return [
        (
            "row",
            "seeds",
            "test accuracy",
            "recorded",
            "95% interval",
            "inside",
            "s per seed",
            "precision",
        ),
        (found["row"], *figures, "yes" if found["inside"] else "no", f"{found['seconds']:.1f}", precision),
    ]
