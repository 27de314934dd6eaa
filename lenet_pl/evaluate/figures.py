"""Figures of `lenet_pl.evaluate`."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from lenet_pl.artifacts.metrics import ClassificationMetrics, calibration_error
from lenet_pl.artifacts.plots import describe_mistakes, draw_confusion, draw_reliability, draw_samples
from lenet_pl.display.figure import Figure, save_figures
from lenet_pl.runtime.optional_work import optional
from lenet_pl.settings.types import Report

MISTAKES = 32  # images in the figure
LIGHT = ("confusion_matrix",)


def write_figures(folder: Path, scores: ClassificationMetrics, images: Tensor, what: str, report: Report) -> None:
    """Draw the confusion matrix, and with report=full the most confident mistakes and the reliability diagram.

    Args:
        folder: The output folder.
        scores: The metrics of the images.
        images: The evaluated images, uint8 (N, C, h, w).
        what: What the images are, for headings.
        report: Which figures.
    """
    names, mistakes = scores.classes, scores.mistakes(MISTAKES)
    shown = images[torch.tensor([m.index for m in mistakes], dtype=torch.int64)]
    titles, bins = describe_mistakes(mistakes, names), scores.calibration()
    error = f"calibration error {calibration_error(bins):.4f}"
    drawn: dict[str, Callable[[], Figure]] = {
        "confusion_matrix": lambda: draw_confusion(scores.confusion, names, f"confusion matrix, {what}"),
        "misclassified": lambda: draw_samples(shown, titles, f"{what}, most confident mistakes"),
        "reliability": lambda: draw_reliability(bins, f"{what}, {error}"),
    }
    for name, draw in drawn.items():
        if report == "full" or name in LIGHT:
            with optional(f"{name}.png", []):
                save_figures(folder, {name: draw()})
