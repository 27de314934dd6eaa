"""Plots of a comparison: accuracy against parameters, validation curves, and the spread over seeds."""

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lenet_pl.compare.groups import Comparison, Group
from lenet_pl.compare.setting_values import LONGEST
from lenet_pl.display.figure import Figure
from lenet_pl.display.text import label as name_of
from lenet_pl.errors import DataError

MOST_PANELS = 12  # datasets
MOST_ROWS = 40  # groups of a dataset in the plot of seeds
MOST_LABELS = 12  # points in a panel with a legend
MOST_LINES = 10  # validation curves of a group


def draw_comparison(comparison: Comparison, curves: int) -> dict[str, Figure]:
    """Draw all plots, with one panel per dataset.

    Args:
        comparison: The groups with their runs.
        curves: The number of groups per dataset whose validation curves are drawn.

    Returns:
        The figures by file name.
    """
    return {
        "accuracy_parameters": _panels(comparison, draw_parameters, 4.2),
        "validation_curves": _panels(comparison, partial(draw_validation, most=curves), 4.2),
        "seeds": _panels(comparison, draw_seeds, None),
    }


def draw_parameters(axis: Axes, groups: Sequence[Group], metric: str) -> None:
    """Draw mean ± standard deviation of each group against its number of parameters."""
    named = len(groups) <= MOST_LABELS
    for some in [[group] for group in groups] if named else [groups]:
        parameters = [group.average("parameters") or 0 for group in some]
        spread = [group.sd or 0 for group in some]
        label = _entry(some[0]) if named else None
        axis.errorbar(parameters, [group.mean for group in some], spread, fmt="o", capsize=3, label=label)
    axis.set(xscale="log", xlabel="parameters", ylabel=metric)
    axis.margins(x=0.15)
    _legend(axis)


def draw_validation(axis: Axes, groups: Sequence[Group], metric: str, most: int) -> None:
    """Draw the validation accuracy of each run against the epoch, for the best groups."""
    longest = 1
    for place, group in enumerate(groups[:most]):
        label: str | None = _entry(group)
        for run in group.runs[:MOST_LINES]:
            try:
                values = run.epochs("val/accuracy")
            except DataError:  # metrics.csv is optional for a comparison
                continue
            numbers = range(1, len(values) + 1)
            axis.plot(numbers, values, ".-", linewidth=0.9, markersize=3, color=f"C{place % 10}", label=label)
            longest = max(longest, len(values))
            label = None  # one legend entry per group
    axis.set(xlabel="epoch", ylabel="validation accuracy, one line per run", xlim=(0.5, longest + 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axis)


def draw_seeds(axis: Axes, groups: Sequence[Group], metric: str) -> None:
    """Draw the metric of each seed as a point and the mean as a line, with one row per group."""
    shown = groups[:MOST_ROWS]
    for place, group in enumerate(shown):
        values = list(group.scores.values())
        axis.plot(values, [place] * len(values), "o", alpha=0.6, color=f"C{place % 10}")
        axis.plot(group.mean, place, "|", markersize=18, color="black")
    axis.set_yticks(
        range(len(shown)), [f"{name_of(group.label, LONGEST)} (n={len(group.scores)})" for group in shown], fontsize=8
    )
    axis.set(ylim=(len(shown) - 0.5, -0.5), xlabel=f"{metric} of each seed; the line marks the mean")
    axis.grid(axis="x", alpha=0.3)


def _panels(comparison: Comparison, draw: Callable[[Axes, Sequence[Group], str], None], height: float | None) -> Figure:
    """Draw one panel per dataset; `height` is in inches, None for a height by the number of groups."""
    together = {data: [g for g in comparison.groups if g.data == data] for data in comparison.datasets[:MOST_PANELS]}
    heights = [height or 1.3 + 0.3 * min(MOST_ROWS, len(groups)) for groups in together.values()]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (data, groups) in zip(axes, together.items(), strict=True):
        draw(axis, groups, comparison.metric)
        axis.set_title(name_of(data, LONGEST), fontsize=10)
    return figure


def _legend(axis: Axes) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _entry(group: Group) -> str:
    """Format a group for the legend, which skips labels that start with an underscore."""
    name = name_of(group.label, LONGEST)
    return f" {name}" if name.startswith("_") else name
