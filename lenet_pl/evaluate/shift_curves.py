"""Accuracy by the amount of a systematic shift, as numbers, table and figure."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from rich.table import Table

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.display.console import Console
from lenet_pl.display.figure import Figure, save_figures, styled
from lenet_pl.display.text import as_csv, label
from lenet_pl.errors import DataError
from lenet_pl.evaluate.shifts import UNITS, shift_images
from lenet_pl.inference.ensemble import ensemble_logits
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.optional_work import optional
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.types import Report

QUANTILE = 1.959963984540054  # of the normal distribution at 0.975, for 95% intervals
FIELDS = ("amount", "accuracy", "low", "high")


def wilson_interval(fraction: float, count: int) -> tuple[float, float]:
    """Compute the 95% interval of a probability from the fraction of `count` > 0 trials that succeeded.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    z = QUANTILE**2 / count
    middle = (fraction + z / 2) / (1 + z)
    half = math.sqrt(z * (fraction * (1 - fraction) + z / 4)) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def measure_shifts(
    runs: Sequence[TrainedRun], images: ImageDataset, settings: EvaluateSettings
) -> dict[str, list[dict[str, float]]]:
    """Measure the accuracy on shifted copies of all images.

    Args:
        runs: One network, or those of an ensemble. The background is that of the first.
        images: The images, as stored.
        settings: The settings of the command, with `shifts`, `shift_amounts` and `tta`.

    Returns:
        By kind of shift, for each amount: `amount`, `accuracy`, and `low` and `high`, Wilson's 95% interval. The
        accuracy of `translate` is the mean over four directions, and its interval that of as many images, which is
        conservative.

    Raises:
        DataError: There are no images.
    """
    if not len(images):
        raise DataError(f"shifts: got a {settings.split} split without images; must have images to shift")
    background = runs[0].preprocess.background
    curves: dict[str, list[dict[str, float]]] = {kind: [] for kind in settings.chosen_shifts}
    work = [(kind, amount) for kind in settings.chosen_shifts for amount in settings.shift_amounts.of(kind)]
    for kind, amount in track(work, "shifts", transient=True):
        correct = [
            ensemble_logits(runs, shifted, settings.tta).argmax(1) == images.labels
            for shifted in shift_images(images.images, kind, amount, background)
        ]
        accuracy = torch.stack(correct).double().mean().item()
        low, high = wilson_interval(accuracy, len(images))
        curves[kind].append({"amount": amount, "accuracy": accuracy, "low": low, "high": high})
    return curves


def write_shifts(folder: Path, results: dict[str, Any], report: Report) -> None:
    """Write and draw the accuracy by amount, and print the table.

    Args:
        folder: The output folder. It receives shifts.csv and shifts.png.
        results: The content of results.json.
        report: Which figures: full and light: the curves, none: none.
    """
    curves, clean = results["shifts"], results["metrics"]["accuracy"]
    points = ((kind, point) for kind, curve in curves.items() for point in curve)
    rows = [(kind, UNITS[kind], *(point[field] for field in FIELDS)) for kind, point in points]
    write_text(folder / "shifts.csv", as_csv([("shift", "unit", *FIELDS), *rows]))
    name = label(results["name"])
    draw = partial(draw_shifts, curves, clean, f"{name}, shifted images")
    if report != "none":
        with optional("shifts.png", []):
            save_figures(folder, {"shifts": draw()})
    table = Table(title=f"{name}: accuracy on shifted images, {clean:.4f} without a shift")
    table.add_column("shift")
    for heading in ("amount", "accuracy", "95% interval"):
        table.add_column(heading, justify="right")
    for kind, curve in curves.items():
        for number, point in enumerate(curve):
            interval = f"{point['low']:.4f} to {point['high']:.4f}"
            first = f"{kind} ({UNITS[kind]})" if number == 0 else ""
            table.add_row(first, f"{point['amount']:g}", f"{point['accuracy']:.4f}", interval)
        table.add_section()
    Console().print(table)


@styled
def draw_shifts(curves: dict[str, list[dict[str, float]]], clean: float, heading: str) -> Figure:
    """Draw the accuracy by amount with its 95% interval, one plot for each kind, next to that without a shift.

    Args:
        curves: The result of `measure_shifts`.
        clean: The accuracy without a shift.
        heading: The heading of the figure.
    """
    figure = Figure(figsize=(2.8 * len(curves) + 0.6, 3.2), layout="constrained")
    figure.suptitle(heading)
    for axes, (kind, curve) in zip(
        figure.subplots(1, len(curves), sharey=True, squeeze=False).flat, curves.items(), strict=True
    ):
        amount, accuracy, low, high = ([point[field] for point in curve] for field in FIELDS)
        axes.axhline(clean, linestyle="--", color="gray", linewidth=1)
        axes.fill_between(amount, low, high, alpha=0.25)
        axes.plot(amount, accuracy, "o-")
        axes.set(title=kind, ylim=(0, 1.02), xlabel=UNITS[kind])
    figure.supylabel("accuracy (fraction of images)")
    return figure
