"""Results of the benchmark: JSON, tables and plot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.markdown import Markdown

from lenet_pl.benchmark.augmentations import table_rows
from lenet_pl.benchmark.diagnoses import diagnosis_rows
from lenet_pl.benchmark.gpu.tables import gpu_tables, measured_rates
from lenet_pl.benchmark.plot import draw_rates
from lenet_pl.benchmark.repeat_row import row_table
from lenet_pl.benchmark.shared_images import shared_images_table
from lenet_pl.benchmark.step import step_table
from lenet_pl.benchmark.trials import trials_table
from lenet_pl.benchmark.tutorials.tables import comparison_table
from lenet_pl.display.console import Console
from lenet_pl.display.figure import save_figures
from lenet_pl.display.text import as_json
from lenet_pl.errors import display_path

Lines = list[tuple[str, ...]]


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Write benchmark.json, benchmark.md with one table per part, and benchmark.png with the rates of the loops."""
    (folder / "benchmark.json").write_text(as_json(results), encoding="utf-8")
    tables = [table(results[part]) for part, table in TABLES.items() if part in results]
    rates = ", ".join(f"{name.replace(', ', ' ')} {value:.1f}" for name, value in results["machine"].items())
    versions = f"torch {results['versions']['torch']}, lightning {results['versions']['lightning']}"
    where = f"{results['device']}, {results['threads']} of {results['cores']} threads, {versions}; {rates}"
    (folder / "benchmark.md").write_text("\n\n".join([*tables, where]) + "\n", encoding="utf-8")
    rows = [row for part in ("loops", "batch_sizes") for row in results.get(part, [])]
    rows += measured_rates(results.get("gpu", {}))
    if rows:
        save_figures(folder, {"benchmark": draw_rates(rows)})


def print_results(folder: Path) -> None:
    """Print the tables of benchmark.md."""
    console = Console()
    console.print(Markdown((folder / "benchmark.md").read_text(encoding="utf-8")))
    console.print(f"all results are in {display_path(folder)}")


def _loops(rows: list[dict[str, Any]]) -> str:
    lines: Lines = [
        (
            "model",
            "augment",
            "batch",
            "loop",
            "images/s",
            "spread",
            "of tuned",
            "ms over tuned",
            "of tutorial",
            "of machine",
        )
    ]
    lines += [
        (
            row["model"],
            row["augment"],
            str(row["batch_size"]),
            row["loop"],
            f"{row['images_per_second']:,.0f}",
            _format_range(row),
            f"{row['to_tuned']:.2f}",
            f"{row['over_tuned_ms']:+.2f}",
            "" if row["to_tutorial"] is None else f"{row['to_tutorial']:.2f}",
            f"{row['share_of_machine']:.0%}",
        )
        for row in rows
    ]
    return _table(lines)


def _start(found: dict[str, Any]) -> str:
    lines: Lines = [("command", "s", "compared with", "ratio")]
    for row in found["rows"]:
        lines.append((row["command"], f"{row['seconds']:.2f}", row.get("over", ""), str(row.get("ratio", ""))))
    return _table(lines)


def _data_sizes(found: dict[str, Any]) -> str:
    lines: Lines = [("images in memory", "images/s", "spread", "uint8 data, MB", "peak memory above imports, MB")]
    lines += [
        (
            f"{row['images']:,}",
            f"{row['images_per_second']:,.0f}",
            _format_range(row),
            f"{row['uint8_mb']:,.0f}",
            f"{row['above_imports_mb']:,.0f}",
        )
        for row in found["rows"]
    ]
    return _table(lines)


def _jobs(found: dict[str, Any]) -> str:
    lines: Lines = [
        ("jobs", "at once", "wall s", "s per job", "beyond training", "beyond the run", "files per job", "kB per job")
    ]
    lines += [
        (
            f"{found['jobs']}, {row['way']}",
            str(row["at_once"]),
            f"{row['wall_seconds']:.0f}",
            f"{row['seconds_per_job']:.2f}",
            f"{row['beyond_training']:.2f}",
            f"{row['beyond_run']:.2f}",
            f"{row['files_per_job']:.0f}",
            f"{row['kilobytes_per_job']:,.0f}",
        )
        for row in found["rows"]
    ]
    reasons = [f"{name} not measured: {why}" for name, why in found["not_measured"].items()]
    return "\n\n".join([_table(lines), *reasons])


def _side_by_side(found: dict[str, Any]) -> str:
    lines: Lines = [
        ("model", "threads", "at once", "images/s together", "relative to one after another", "relative to spinning")
    ]
    lines += [
        (
            row["model"],
            row["way"],
            str(row["at_once"]),
            f"{row['images_per_second']:,.0f}",
            f"{row['to_one_after_another']:.2f}",
            f"{row['to_spinning_alone']:.2f}",
        )
        for row in found["rows"]
    ]
    evaluate, demo, training = found["evaluate"], found.get("demo"), found.get("training")
    said = [f"`evaluate` takes {evaluate['alone']:.2f} s alone and {evaluate['during']:.2f} s during a training."]
    if demo and training:
        said += [
            f"`demo` classifies a drawing in {1000 * demo['alone']:.0f} ms alone and {1000 * demo['during']:.0f} ms "
            f"during a training, which has {training['with_demo'] / training['alone']:.2f} of its rate meanwhile."
        ]
    return _table(lines) + "\n\n" + " ".join(said)


def _memory_mapped(found: dict[str, Any]) -> str:
    if "not_measured" in found:
        return f"Larger than memory: not measured, {found['not_measured']}."
    lines: Lines = [("set", "images/s", "spread"), ("in memory", *_rate(found["in_memory"]))]
    lines.append(
        (f"{found['set_mb']:,} MB on disk, {found['limit_mb']:,} MB of memory", *_rate(found["memory_mapped"]))
    )
    return _table(lines) + f"\n\nratio {found['ratio']:.2f}"


def _mnist_99(found: dict[str, Any]) -> str:
    if "not_measured" in found:
        return f"Time to 99% on MNIST: not measured, {found['not_measured']}."
    sd = "" if found["recipe_accuracy_sd"] is None else f" ± {found['recipe_accuracy_sd']:.4f}"
    runs, most = len(found["tutorial"]), found["tutorial_most_epochs"]
    lines: Lines = [
        ("99% on MNIST", "seconds of training", "test accuracy"),
        (
            f"mnist_99_fast, {len(found['recipe'])} seeds",
            f"{found['recipe_seconds']:.1f}",
            f"{found['recipe_accuracy']:.4f}{sd}",
        ),
        (
            f"tutorial loop until 99%, at most {most} epochs, {runs} seeds",
            f"{found['tutorial_seconds']:.1f}",
            f"99% reached in {found['tutorial_reached']} of {runs} runs",
        ),
    ]
    at_least = "" if found["tutorial_reached"] == runs else "at least "
    return _table(lines) + f"\n\nratio {at_least}{found['ratio']:.1f}"


def _steps_per_hook(rows: list[dict[str, Any]]) -> str:
    lines: Lines = [("model", "batch", "steps per hook", "images/s", "spread", "of the fast path")]
    lines += [
        (
            row["model"],
            str(row["batch_size"]),
            str(row["steps_per_hook"]),
            *_rate(row),
            f"{row['to_fast_path']:.2f}",
        )
        for row in rows
    ]
    return _table(lines)


TABLES: dict[str, Callable[[Any], str]] = {
    "loops": _loops,
    "batch_sizes": _loops,
    "augmentations": lambda rows: _table(table_rows(rows)),
    "steps_per_hook": _steps_per_hook,
    "step": lambda rows: _table(step_table(rows)),
    "trials": lambda rows: _table(trials_table(rows)),
    "start": _start,
    "data_sizes": _data_sizes,
    "memory_mapped": _memory_mapped,
    "jobs": _jobs,
    "side_by_side": _side_by_side,
    "shared_images": lambda found: _table(shared_images_table(found)),
    "mnist_99": _mnist_99,
    "tutorials": comparison_table,
    "leaderboard": lambda found: _table(row_table(found)),
    "diagnose": lambda found: _table(diagnosis_rows(found)),
    "gpu": gpu_tables,
}


def _table(lines: Lines) -> str:
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])


def _format_range(row: dict[str, float]) -> str:
    return f"{row['smallest']:,.0f}–{row['largest']:,.0f}"


def _rate(row: dict[str, float]) -> tuple[str, str]:
    return f"{row['images_per_second']:,.0f}", _format_range(row)
