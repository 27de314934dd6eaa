"""The recorded data settings of a resumed run as overrides, so that the command line can give one of them alone."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lenet_pl.errors import DataError
from lenet_pl.settings.config_file import completed, read_settings
from lenet_pl.settings.types import expand_home


def data_of_run(given: Mapping[str, str]) -> list[str]:
    """Return the recorded data settings as overrides if the command line has some of them without `data=`.

    Args:
        given: Overrides of the command line by key.

    Returns:
        The overrides to add. Empty if no run is resumed, or if `data=` is given.
    """
    resume = given.get("resume", "").partition("=")[2].lower()
    named = [key for key in given if key.startswith("data.")]
    if resume not in ("true", "auto") or not named or "data" in given or "run" not in given:
        return []
    folder = Path(expand_home(given["run"].partition("=")[2].strip("'\"")))
    try:
        data = completed(read_settings(folder))["data"]
    except (DataError, KeyError, TypeError):  # reported later, when the run folder is checked
        return []
    overrides = {key: f"{key}={quoted(value)}" for key, value in leaves(data, "data.") if key != "data.name"}
    return [f"data={data['name']}", *(override for key, override in overrides.items() if key not in named)]


def leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested settings."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def quoted(value: Any) -> str:
    """Quote a value for Hydra."""
    if not isinstance(value, str):
        return json.dumps(value)
    escaped = value.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"
