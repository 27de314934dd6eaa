"""Actions of a page on a training that runs."""

from typing import Any

from lenet_pl.errors import SettingError
from lenet_pl.lab.views import OFFERED

ACTIONS = ("pause", "go", "step", "speed", "lr", "images")


def check_action(action: str, value: Any) -> Any:
    """Check the value of an action.

    Raises:
        SettingError: It is of another type or out of range.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good = {
        "pause": value is None,
        "go": value is None,
        "step": isinstance(value, int) and number and 1 <= value <= 1_000_000,
        "speed": value is None or (number and 0.1 <= value <= 10_000),
        "lr": number and 0 < value <= 1000,
        "images": isinstance(value, list) and len(value) <= OFFERED and all(type(entry) is int for entry in value),
    }[action]
    if not good:
        must = {
            "step": "a number of steps from 1",
            "speed": "null, or 0.1 to 10,000 steps per second",
            "lr": "a number greater than 0, up to 1000",
            "images": "a list of indices",
        }.get(action, "null")
        raise SettingError(f"{action}: got {value!r}; must be {must}")
    return value
