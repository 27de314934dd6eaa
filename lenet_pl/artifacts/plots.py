"""Figures of a run: learning curves, images, confusion matrix, reliability diagram."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatter, MaxNLocator
from torch import Tensor

from lenet_pl.artifacts.metrics import CalibrationBin, Mistake
from lenet_pl.display.figure import SMALL, Figure, styled
from lenet_pl.display.text import label, lines, shorten

TRAIN, VALIDATION = "C0", "C1"
LINE = 18  # text columns per line above an image


class PlainNumbers(LogFormatter):
    """Tick labels of a logarithmic axis such as 0.1 and 100. Powers of ten are math, which is slow to typeset."""

    @classmethod
    def use(cls, axes: Axes) -> None:
        """Label the y-axis of a plot; ticks between powers of ten only where there are few of those."""
        axes.yaxis.set_major_formatter(cls())
        axes.yaxis.set_minor_formatter(cls(minor_thresholds=(1, 0.4)))

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick. Empty if it has none."""
        return f"{x:g}" if super().__call__(x, pos) else ""


@styled
def draw_curves(epochs: Sequence[dict[str, float]], step_losses: Sequence[float]) -> Figure:
    """Draw loss and accuracy of training and validation per epoch, and the training loss per step.

    Args:
        epochs: The rows of `MetricsHistory`.
        step_losses: The training loss of each step.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    numbers = [row["epoch"] + 1 for row in epochs]
    for axis, metric, unit in zip(axes, ("loss", "accuracy"), ("mean per image", "fraction of images"), strict=False):
        for split, name, line in (("train", "training", "o-"), ("val", "validation", "s--")):
            values = [row.get(f"{split}/{metric}", np.nan) for row in epochs]
            axis.plot(numbers, values, line, markersize=4, label=name)
        axis.set(xlabel="epoch", ylabel=f"{metric} ({unit})", xlim=(0.5, max(numbers, default=1) + 0.5))
        axis.legend()
    for axis in axes:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    width = max(1, len(step_losses) // 100)
    faint = {"linewidth": 0.4, "alpha": 0.5} if width > 1 else {}  # the raw curve under the moving average
    axes[2].plot(np.arange(1, len(step_losses) + 1), step_losses, color=TRAIN, **faint)
    if len(step_losses) > width > 1:
        smooth = np.convolve(step_losses, np.full(width, 1 / width), "valid")
        axes[2].plot(
            np.arange(width, len(step_losses) + 1), smooth, color=TRAIN, label=f"moving average of {width} steps"
        )
        axes[2].legend()
    axes[2].set(xlabel="optimizer step", ylabel="training loss (mean of the batch)", yscale="log")
    PlainNumbers.use(axes[2])
    return figure


@styled
def draw_samples(images: Tensor, titles: Sequence[str], heading: str, columns: int = 8) -> Figure:
    """Draw images in a grid, each with a title; without images, the figure says "none".

    Args:
        images: The images, uint8 (N, C, H, W).
        titles: A title of one or more lines per image; the middle of long lines is omitted.
        heading: The heading of the figure.
        columns: The number of images per row.
    """
    rows = max(1, -(-len(images) // columns))
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    # One pair of axes for all images: the layout of separate ones would take seconds
    width, height = 1.16, 1.05 + 0.16 * lines  # of a cell, where an image is 1×1
    figure = Figure(figsize=(1.3 * columns * width, 1.3 * rows * height + 0.5), layout="constrained")
    figure.suptitle(heading)
    axis = figure.subplots()
    axis.set(xlim=(0, columns * width), ylim=(rows * height, 0), aspect="equal")
    axis.set_axis_off()
    if not len(images):
        axis.text(columns * width / 2, height / 2, "none", ha="center", va="center")
    for place, (image, title) in enumerate(zip(images, titles, strict=False)):
        row, column = divmod(place, columns)
        left, bottom = column * width + (width - 1) / 2, (row + 1) * height
        pixels = image.permute(1, 2, 0).cpu().numpy()
        axis.imshow(
            pixels if pixels.shape[2] == 3 else pixels[:, :, 0],
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=(left, left + 1, bottom, bottom - 1),
        )
        axis.text(left + 0.5, bottom - 1.03, _fit(title), ha="center", va="bottom", fontsize=SMALL)
    axis.set(xlim=(0, columns * width), ylim=(rows * height, 0))
    return figure


def describe_mistakes(mistakes: Sequence[Mistake], classes: Sequence[str]) -> list[str]:
    """Write the titles of misclassified images: predicted class, its probability, and the true class."""
    names = [label(name, LINE - 5) for name in classes]
    return [f"{names[one.predicted]} {one.probability:.0%}\nis {names[one.true]}" for one in mistakes]


def _fit(title: str) -> str:
    return "\n".join(shorten(line, LINE) for line in lines(title).split("\n"))


@styled
def draw_confusion(matrix: Tensor, classes: Sequence[str], heading: str = "confusion matrix") -> Figure:
    """Draw a confusion matrix with true classes in rows; the shade is the fraction of the row.

    Args:
        matrix: Counts, int64 (K, K).
        classes: K class names.
        heading: The heading of the figure.
    """
    count, numbered = len(classes), len(classes) <= 30
    cell = max(0.45, 0.1 + 0.09 * len(str(int(matrix.max()))))  # inches, of the largest number
    side = min(20.0, max(5.0, 3.2 + cell * count))
    figure = Figure(figsize=(side, side), layout="constrained")
    figure.suptitle(heading)
    figure.supxlabel("number of images; " * numbered + "shade: fraction of the true class", fontsize=SMALL)
    axis = figure.subplots()
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    axis.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axis.set(xlabel="predicted class", ylabel="true class")
    names = [label(name, 30) for name in classes]
    axis.set_xticks(range(count), names, rotation=90)
    axis.set_yticks(range(count), names)
    if numbered:
        for row, column in torch.nonzero(matrix).tolist():
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(int(matrix[row, column])), ha="center", va="center", color=color, fontsize=SMALL)
    return figure


@styled
def draw_reliability(bins: Sequence[CalibrationBin], heading: str) -> Figure:
    """Draw a reliability diagram: accuracy against confidence, with a histogram of the confidence below.

    Args:
        bins: The bins of `ClassificationMetrics.calibration`.
        heading: The heading of the figure.
    """
    figure = Figure(figsize=(5, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    figure.suptitle(heading)
    full = [b for b in bins if b.accuracy is not None and b.confidence is not None]
    places, width = [(b.lower + b.upper) / 2 for b in full], 1 / len(bins)
    accuracies, confidences = [b.accuracy or 0.0 for b in full], [b.confidence or 0.0 for b in full]
    upper.bar(places, accuracies, width, color=TRAIN, edgecolor="white", label="accuracy")
    gaps = [c - a for a, c in zip(accuracies, confidences, strict=True)]
    upper.bar(
        places,
        gaps,
        width,
        bottom=accuracies,
        color="none",
        edgecolor=VALIDATION,
        hatch="//",
        label="gap to confidence",
    )
    upper.plot([0, 1], [0, 1], "--", color="gray", label="perfect calibration")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy (fraction of images)")
    upper.legend(loc="upper left")
    lower.bar(places, [b.count for b in full], width, color=TRAIN, edgecolor="white")
    lower.set(xlabel="probability of the predicted class", ylabel="number\nof images", yscale="log")
    PlainNumbers.use(lower)
    return figure
