"""Accuracy on corrupted images, as numbers, table and figures."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import track
from rich.table import Table
from torch import Tensor, cat

from lenet_pl.artifacts.plots import draw_samples
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.display.console import Console
from lenet_pl.display.figure import Figure, save_figures, styled
from lenet_pl.display.text import label
from lenet_pl.errors import DataError
from lenet_pl.evaluate.corruptions import corrupt, mean_error
from lenet_pl.inference.ensemble import ensemble_logits
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.runtime.optional_work import optional
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.types import Report

SHOWN = 8  # corrupted images of each kind in the figure
COLUMNS = 5  # kinds per row of the figure


def measure_robustness(runs: Sequence[TrainedRun], images: ImageDataset, settings: EvaluateSettings) -> dict[str, Any]:
    """Measure the accuracy on corrupted images, which are the same for every network.

    Args:
        runs: One network, or those of an ensemble.
        images: The images, as stored.
        settings: The settings of the command, with `corruptions`, `severities` and `tta`.

    Returns:
        `severities`, `accuracy` (by kind, for each severity), and `mean_error` (see `corruptions.mean_error`).

    Raises:
        DataError: There are no images.
    """
    if not len(images):
        raise DataError(f"corruptions: got a {settings.split} split without images; must have images to corrupt")
    kinds, severities = settings.chosen_corruptions, sorted(settings.severities)
    accuracy: dict[str, list[float]] = {kind: [] for kind in kinds}
    work = [(kind, severity) for kind in kinds for severity in severities]
    for kind, severity in track(work, "corruptions", transient=True):
        logits = ensemble_logits(runs, corrupt(images.images, kind, severity), settings.tta)
        accuracy[kind].append((logits.argmax(1) == images.labels).double().mean().item())
    return {"severities": severities, "accuracy": accuracy, "mean_error": mean_error(list(accuracy.values()))}


def write_robustness(folder: Path, results: dict[str, Any], images: Tensor, report: Report) -> None:
    """Draw the accuracy by severity and some corrupted images, and print the table.

    Args:
        folder: The output folder. It receives corruptions.png and corrupted.png.
        results: The content of results.json.
        images: The images, uint8 (N, C, h, w).
        report: Which figures: full and light: both, none: none.
    """
    found, clean = results["corruptions"], results["metrics"]["accuracy"]
    name = label(results["name"])
    drawings = {
        "corruptions": partial(draw_robustness, found, clean, f"{name}, corrupted images"),
        "corrupted": partial(_draw_samples, found, images),
    }
    for file, draw in drawings.items() if report != "none" else ():
        with optional(f"{file}.png", []):
            save_figures(folder, {file: draw()})
    table = Table(title=f"{name}: accuracy on corrupted images, {clean:.4f} without corruption")
    table.add_column("severity")
    for severity in found["severities"]:
        table.add_column(str(severity), justify="right")
    for kind, row in found["accuracy"].items():
        table.add_row(kind, *(f"{accuracy:.4f}" for accuracy in row))
    Console().print(table)
    print(f"mean corruption error {found['mean_error']:.4f}")


@styled
def draw_robustness(found: dict[str, Any], clean: float, heading: str) -> Figure:
    """Draw the accuracy by severity, one plot for each kind of corruption, next to that without corruption.

    Args:
        found: The result of `measure_robustness`.
        clean: The accuracy without corruption.
        heading: The heading of the figure.
    """
    kinds, severities = found["accuracy"], found["severities"]
    columns = min(COLUMNS, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(2.3 * columns + 0.5, 2 * rows + 0.6), layout="constrained")
    figure.suptitle(heading)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (kind, accuracy) in zip(grid.flat, kinds.items(), strict=False):
        axes.axhline(clean, linestyle="--", color="gray", linewidth=1)
        axes.plot(severities, accuracy, "o-")
        axes.set(title=kind, ylim=(0, 1.02), xticks=severities)
    for axes in grid.flat[len(kinds) :]:
        axes.set_axis_off()
    figure.supxlabel("severity")
    figure.supylabel("accuracy (fraction of images)")
    return figure


def _draw_samples(found: dict[str, Any], images: Tensor) -> Figure:
    severity = found["severities"][-1]
    shown = [corrupt(images[:SHOWN], kind, severity) for kind in found["accuracy"]]
    titles = [
        title for kind, some in zip(found["accuracy"], shown, strict=True) for title in (kind, *[""] * (len(some) - 1))
    ]
    return draw_samples(cat(shown), titles, f"corrupted images, severity {severity}", len(shown[0]))
