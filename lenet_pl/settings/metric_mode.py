"""Whether the best value of a metric is its smallest or its largest. Imports nothing heavy."""

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
    """Say whether the best value of a metric such as `val/loss` is its "min" or its "max".

    Raises:
        SettingError: it is none of the metrics that this project computes.
    """
    try:
        return MODES[metric.rpartition("/")[2]]
    except KeyError:
        names = ", ".join(MODES)
        raise SettingError(
            f"metric: got {metric}, of which nothing says whether small or large is good; must be one of {names}"
        ) from None
