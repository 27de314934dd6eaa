"""The mode of each metric: whether smaller or larger is better."""

from typing import Literal

from lenet_pl.errors import SettingError

MODES: dict[str, Literal["min", "max"]] = {  # by the part of the name after the last slash
    "loss": "min",
    "calibration_error": "min",
    "accuracy": "max",
    "top3_accuracy": "max",
    "macro_precision": "max",
    "macro_recall": "max",
    "macro_f1": "max",
}


def metric_mode(metric: str) -> Literal["min", "max"]:
    """Return "min" or "max", the mode of a metric such as `val/loss`.

    Raises:
        SettingError: The metric is not one that this project computes.
    """
    try:
        return MODES[metric.rpartition("/")[2]]
    except KeyError:
        names = ", ".join(MODES)
        raise SettingError(
            f"metric: got {metric}, of which nothing says whether small or large is good; must be one of {names}"
        ) from None
