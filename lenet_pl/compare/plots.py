"""Plots of a comparison: accuracy against parameters, validation curves, and the spread over seeds."""

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from lenet_pl.compare.groups import VALIDATION, Comparison, Group
from lenet_pl.compare.setting_values import LONGEST, show_short
from lenet_pl.display.figure import STYLE, Figure, styled
from lenet_pl.display.text import label as name_of
from lenet_pl.errors import DataError

MOST_PANELS = 12  # datasets
MOST_ROWS = 40  # groups of a dataset in the plot of seeds
MOST_LABELS = 12  # points in a panel with a legend
MOST_LINES = 10  # validation curves of a group
COLORS, MARKERS = (
    len(STYLE["axes.prop_cycle"]),
    "os^Dv",
)  # each color of the style with the first marker, then with the second


@styled
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


def draw_parameters(axis: Axes, groups: Sequence[Group], comparison: Comparison) -> None:
    """Draw mean ± standard deviation of each group against its number of parameters."""
    named = len(groups) <= MOST_LABELS
    for place, some in enumerate([[group] for group in groups] if named else [groups]):
        parameters = [group.average("parameters") or 0 for group in some]
        spread = [group.sd or 0 for group in some]
        label = _entry(some[0], comparison.by) if named else None
        marker = MARKERS[place // COLORS % len(MARKERS)]
        axis.errorbar(parameters, [group.mean for group in some], spread, fmt=marker, capsize=3, label=label)
    axis.set(xscale="log", xlabel="number of parameters", ylabel=_axis_label(comparison.metric))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, 1M
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.15)
    _legend(axis)


def draw_validation(axis: Axes, groups: Sequence[Group], comparison: Comparison, most: int) -> None:
    """Draw the validation accuracy of each run against the epoch, for the best groups."""
    longest = 1
    for place, group in enumerate(groups[:most]):
        label: str | None = _entry(group, comparison.by)
        marker = MARKERS[place // COLORS % len(MARKERS)]
        for run in group.runs[:MOST_LINES]:
            try:
                values = run.epochs("val/accuracy")
            except DataError:  # metrics.csv is optional for a comparison
                continue
            axis.plot(
                range(1, len(values) + 1),
                values,
                marker=marker,
                color=f"C{place}",
                linewidth=1.2,
                markersize=4,
                label=label,
            )
            longest = max(longest, len(values))
            label = None  # one legend entry per group
    axis.set(xlabel="epoch", ylabel=f"{_axis_label(VALIDATION)}\none line per run", xlim=(0.5, longest + 0.5))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _legend(axis)


def draw_seeds(axis: Axes, groups: Sequence[Group], comparison: Comparison) -> None:
    """Draw the metric of each seed as a point and the mean as a line, with one row per group."""
    shown = groups[:MOST_ROWS]
    for place, group in enumerate(shown):
        values = list(group.scores.values())
        axis.plot(values, [place] * len(values), "o", alpha=0.6, color="C0")
        axis.plot(group.mean, place, "|", markersize=18, color="black")
    names = [f"{_entry(group, comparison.by)} (n={len(group.scores)})" for group in shown]
    axis.set_yticks(range(len(shown)), names)
    axis.set(ylim=(len(shown) - 0.5, -0.5), xlabel=f"{_axis_label(comparison.metric)}\npoint: one seed, line: mean")
    axis.grid(axis="x", alpha=0.3)


def _panels(
    comparison: Comparison, draw: Callable[[Axes, Sequence[Group], Comparison], None], height: float | None
) -> Figure:
    """Draw one panel per dataset; `height` is in inches, None for a height by the number of groups."""
    together = {data: [g for g in comparison.groups if g.data == data] for data in comparison.datasets[:MOST_PANELS]}
    heights = [height or 1.5 + 0.3 * min(MOST_ROWS, len(groups)) for groups in together.values()]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (data, groups) in zip(axes, together.items(), strict=True):
        draw(axis, groups, comparison)
        axis.set_title(name_of(data, LONGEST))
    return figure


def _legend(axis: Axes) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def _entry(group: Group, by: Sequence[str]) -> str:
    """Name a group in its panel, whose title is the dataset: lenet5, lr=0.001.

    Values other than text follow the last part of their key. The legend skips labels that start with an underscore.
    """
    keys = [key for key in by if key != "data"] or list(by)
    values = dict(zip(by, group.values, strict=True))
    short = {key: key.rpartition(".")[2] for key in keys}
    words = [
        show_short(values[key])
        if isinstance(values[key], str)
        else f"{short[key] if list(short.values()).count(short[key]) == 1 else key}={show_short(values[key])}"
        for key in keys
    ]
    name = name_of(", ".join(words), LONGEST)
    return f" {name}" if name.startswith("_") else name


def _axis_label(metric: str) -> str:
    """Write a metric such as test/accuracy with its unit."""
    name = metric.removeprefix("best/").replace("val/", "validation/").replace("/", " ").replace("_", " ")
    unit = {"accuracy": "fraction of images", "loss": "nats"}.get(name.rpartition(" ")[2])
    return f"{name} ({unit})" if unit else name
