"""Figures of a diagnosis: learning-rate range, gradients, activations, learning curves."""

import math

from lenet_pl.diagnose.examination import Examination
from lenet_pl.display.figure import Figure, styled
from lenet_pl.engine.lr_finder import draw_search

MOST = 8  # layers of which activations are drawn


def draw_figures(found: Examination) -> dict[str, Figure]:
    """Draw what was measured, by the names that `Suspicion.figure` uses."""
    figures = {"gradients": draw_gradients(found)}
    if found.lr_range:
        lr = getattr(found.run.settings.optimizer, "lr", None)
        results = {"lr": found.lr_range.lrs, "loss": found.lr_range.losses}
        figures["lr_range"] = draw_search(results, found.lr_range.suggestion, used=lr)
    if found.layers:
        figures["activations"] = draw_activations(found)
    if len(found.run.rows) > 1:
        figures["curves"] = draw_curves(found)
    return figures


@styled
def draw_gradients(found: Examination) -> Figure:
    """Draw loss and gradient norm of the repeated steps, and the gradient of each layer in the first ones."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([loss if math.isfinite(loss) else math.nan for loss in found.replay.losses], label="training loss")
    left.plot(
        [norm if math.isfinite(norm) else math.nan for norm in found.replay.gradient_norms], label="gradient norm"
    )
    left.set(xlabel="step", yscale="symlog" if _wide(found.replay.gradient_norms) else "linear")
    left.legend()
    names = [name.removesuffix(".weight") for name in found.replay.first_gradients]
    right.barh(names, [max(value, 1e-12) for value in found.replay.first_gradients.values()])
    right.invert_yaxis()
    right.set(xscale="log", xlabel="gradient norm, first steps")
    return figure


def _wide(values: list[float]) -> bool:
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and max(finite) > 100


@styled
def draw_activations(found: Examination) -> Figure:
    """Draw a histogram of the outputs of each activation function for validation images."""
    layers = found.layers[:MOST]
    columns = min(4, len(layers))
    rows = -(-len(layers) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.4 * rows), layout="constrained")
    for axis, one in zip(figure.subplots(rows, columns, squeeze=False).flat, layers, strict=False):
        low, high = one.edges
        width = (high - low) / len(one.counts)
        axis.bar([low + width * (k + 0.5) for k in range(len(one.counts))], one.counts, width)
        axis.set(yscale="log", title=f"{one.name}\n{one.dead:.0%} dead, {one.saturated:.0%} saturated")
    for axis in list(figure.axes)[len(layers) :]:
        axis.remove()
    return figure


@styled
def draw_curves(found: Examination) -> Figure:
    """Draw loss and accuracy of each epoch of the run."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axis, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split in ("train", "val"):
            there = [row for row in found.run.rows if f"{split}/{what}" in row]
            axis.plot([row["epoch"] + 1 for row in there], [row[f"{split}/{what}"] for row in there], label=split)
        axis.set(xlabel="epoch", ylabel=what)
        axis.legend()
    return figure
