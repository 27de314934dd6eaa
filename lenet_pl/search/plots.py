"""Plots of a study, drawn by Optuna's matplotlib functions."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib as mpl
import optuna
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState
from optuna.visualization import matplotlib as visualization

from lenet_pl.display.figure import DPI, STYLE, prepare, tell_lacking
from lenet_pl.runtime.optional_work import reason

PLOTS = ("optimization_history", "param_importances", "parallel_coordinate")
Retry = Callable[[Callable[[], str | None]], str | None]
WIDTH, HEIGHT = 9.0, 5.0  # inches


def draw_study(study: optuna.Study, folder: Path, metric: str, retry: Retry = lambda work: work()) -> list[str]:
    """Draw the optimization history, parameter importances and parallel coordinates as PNG files.

    Args:
        study: The study.
        folder: The folder of the PNG files.
        metric: The name of the metric, for the axes.
        retry: A function that calls its argument, and repeats the call after an outage of the database.

    Returns:
        One line for each plot that could not be drawn, with the reason.
    """
    missing = []
    for name in PLOTS:
        try:
            if why := retry(partial(_draw, study, folder, name, metric)):
                missing.append(f"{name}.png: {why}")
        except Exception as error:  # a plot must not fail a finished search
            missing.append(f"{name}.png: {reason(error)}")
    return missing


def _draw(study: optuna.Study, folder: Path, name: str, metric: str) -> str | None:
    """Draw a plot, or explain why it cannot be drawn."""
    if why := _too_little(study, name):
        return why
    with mpl.rc_context(), warnings.catch_warnings():  # Optuna sets a global style
        warnings.simplefilter("ignore", ExperimentalWarning)
        # Optuna's layout may have no room for long names
        warnings.filterwarnings("ignore", r".*[Tt]ight.layout")
        warnings.filterwarnings("ignore", "Attempting to set identical low and high")  # an axis with a single value
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        axes = getattr(visualization, f"plot_{name}")(study, target=None, **_titles(name, metric))
        figure = axes.figure
        _restyle(figure)
        prepare(figure)
        figure.set_size_inches(WIDTH, HEIGHT)
        part = folder / f".{name}.{os.getpid()}.part.png"
        figure.savefig(part, dpi=DPI, bbox_inches="tight")
        plt.close(figure)
    part.replace(folder / f"{name}.png")
    tell_lacking([figure])
    return None


def _restyle(figure: Figure) -> None:
    """Replace the style that Optuna has set by that of all figures."""
    colors = STYLE["axes.prop_cycle"].by_key()["color"]
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set(fontsize=STYLE["font.size"], color="black")
    for axes in figure.axes:
        axes.set_facecolor("white")
        axes.grid(color="0.9")
        axes.tick_params(colors="black")
        for points in [one for one in axes.collections if isinstance(one, PathCollection)] + axes.patches:
            points.set_color(colors[0])
        for line in axes.lines:
            line.set(color=colors[1], alpha=1)
        for text in axes.texts:
            text.set_text(f" {text.get_text()}")  # apart from its bar
        if axes.get_legend() and axes.lines:  # one kind of bar needs no legend
            axes.legend()
        elif legend := axes.get_legend():
            legend.remove()


def _titles(name: str, metric: str) -> dict[str, str]:
    return {} if name == "param_importances" else {"target_name": metric}


def _too_little(study: optuna.Study, name: str) -> str | None:
    """Explain why a plot cannot be drawn; None if it can."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return "no trial was completed"
    if name == "param_importances":
        if len({trial.value for trial in complete}) < 2:
            return "needs two completed trials with different values"
        if len(complete) < 4:
            return "needs four completed trials"
    return None
