"""Pictures of a study, by Optuna's own functions for matplotlib."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import matplotlib as mpl
import optuna
from matplotlib import pyplot as plt
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState
from optuna.visualization import matplotlib as drawn

from lenet_pl.figure import DPI, prepare, tell_lacking
from lenet_pl.optional_work import reason

PICTURES = ("optimization_history", "param_importances", "parallel_coordinate")
WIDTH, HEIGHT = 9.0, 5.0  # inches


def draw_study(study: optuna.Study, folder: Path, metric: str) -> list[str]:
    """Draw history, importances and parallel coordinates as PNG files.

    Returns:
        What could not be drawn, and why, a line each.
    """
    missing = []
    for name in PICTURES:
        if why := _too_little(study, name):
            missing.append(f"{name}.png: {why}")
            continue
        try:
            _draw(study, folder, name, metric)
        except Exception as error:  # whatever it is, the study is worth more than its picture
            missing.append(f"{name}.png: {reason(error)}")
    return missing


def _draw(study: optuna.Study, folder: Path, name: str, metric: str) -> None:
    with mpl.rc_context(), warnings.catch_warnings():  # Optuna sets a style for the whole process
        warnings.simplefilter("ignore", ExperimentalWarning)
        # Optuna draws into a layout of its own, which may find no room for long names
        warnings.filterwarnings("ignore", r".*[Tt]ight.layout")
        warnings.filterwarnings("ignore", "Attempting to set identical low and high")  # an axis with one value
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        axes = getattr(drawn, f"plot_{name}")(study, target=None, **_titles(name, metric))
        figure = axes.figure
        prepare(figure)
        figure.set_size_inches(WIDTH, HEIGHT)
        part = folder / f".{name}.{os.getpid()}.part.png"
        figure.savefig(part, dpi=DPI, bbox_inches="tight")
        plt.close(figure)
    part.replace(folder / f"{name}.png")
    tell_lacking([figure])


def _titles(name: str, metric: str) -> dict[str, str]:
    return {} if name == "param_importances" else {"target_name": metric}


def _too_little(study: optuna.Study, name: str) -> str | None:
    """Say why a picture cannot be drawn; None if it can."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return "no trial was completed"
    if name == "param_importances":
        if len({trial.value for trial in complete}) < 2:
            return "needs two completed trials with different values"
        if len(complete) < 4:
            return "needs four completed trials"
    return None
