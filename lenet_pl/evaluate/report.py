"""Report of `lenet_pl.evaluate`: metrics and tables."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from lenet_pl.artifacts.metrics import ClassificationMetrics, calibration_error
from lenet_pl.display.console import Console
from lenet_pl.display.text import label
from lenet_pl.errors import display_path

TOP = 3  # k of the top-k accuracy
SPLITS = {"test": "test", "val": "validation"}  # in titles


def summarize_metrics(scores: ClassificationMetrics) -> dict[str, Any]:
    """Collect all metrics as plain JSON values, with the keys that `lenet_pl.evaluate.evaluate` documents."""
    calibration = scores.calibration()
    return {
        "metrics": {
            "accuracy": scores.accuracy(),
            "loss": scores.loss(),
            f"top{TOP}_accuracy": scores.top_accuracy(TOP),
            **{f"macro_{name}": value for name, value in scores.macro_average().items()},
            "calibration_error": calibration_error(calibration),
        },
        "per_class": scores.per_class(),
        "most_confused": scores.most_confused(),
        "confusion_matrix": {"classes": scores.classes, "rows_are": "true", "counts": scores.confusion.tolist()},
        "calibration": [asdict(one) for one in calibration],
    }


def describe_images(results: dict[str, Any]) -> str:
    """Name the evaluated images, such as "test images of fashion"."""
    return f"{SPLITS[results['split']]} images of {label(results['data'])}"


def print_evaluation(folder: Path, results: dict[str, Any]) -> None:
    """Print the metrics per class and over all images, and the output folder."""
    metrics, console = results["metrics"], Console()
    table = Table(
        title=f"{results['name']}: {results['images']:,} {SPLITS[results['split']]} images of {label(results['data'])}"
    )
    table.add_column("class")
    for heading in ("precision", "recall", "F1", "images"):
        table.add_column(heading, justify="right")
    for name, row in results["per_class"].items():
        table.add_row(label(name), *(_figure(row[key]) for key in ("precision", "recall", "f1")), f"{row['support']:,}")
    table.add_section()
    average = [_figure(metrics[f"macro_{key}"]) for key in ("precision", "recall", "f1")]
    table.add_row("mean over classes", *average, f"{results['images']:,}")
    console.print(table)

    summary = Table(show_header=False)
    summary.add_column()
    summary.add_column(overflow="fold")  # paths are wrapped, never truncated
    rows = [
        ("accuracy", f"{metrics['accuracy']:.4f}"),
        (f"top-{TOP} accuracy", f"{metrics[f'top{TOP}_accuracy']:.4f}"),
        ("loss", f"{metrics['loss']:.4f}"),
        ("calibration error", f"{metrics['calibration_error']:.4f}"),
    ]
    if pair := results["most_confused"]:
        rows.append(("most confused", f"{' and '.join(map(label, pair['classes']))}, {pair['count']:,} images"))
    rows.append(("everything is in", display_path(folder)))
    for row in rows:
        summary.add_row(*row)
    console.print(summary)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
