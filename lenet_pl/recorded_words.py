"""The data of a run that is continued, as words of the command line; one setting of them may then be named alone."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lenet_pl.errors import DataError
from lenet_pl.settings.recorded import completed, read_settings
from lenet_pl.settings.types import expand_home


def data_of_run(given: Mapping[str, str]) -> list[str]:
    """Write the recorded settings of the data, where the command line names some of them and not the set.

    Args:
        given: words of the command line by their keys.

    Returns:
        Words to add; none where no run is continued, or the set is named.
    """
    resume = given.get("resume", "").partition("=")[2].lower()
    named = [key for key in given if key.startswith("data.")]
    if resume not in ("true", "auto") or not named or "data" in given or "run" not in given:
        return []
    folder = Path(expand_home(given["run"].partition("=")[2].strip("'\"")))
    try:
        data = completed(read_settings(folder))["data"]
    except (DataError, KeyError, TypeError):  # which is told when the run is looked at
        return []
    words = {key: f"{key}={_quoted(value)}" for key, value in _leaves(data, "data.") if key != "data.name"}
    return [f"data={data['name']}", *(word for key, word in words.items() if key not in named)]


def _leaves(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _quoted(value: Any) -> str:
    """Write a value as Hydra reads it."""
    if not isinstance(value, str):
        return json.dumps(value)
    escaped = value.replace("\\'", "\\\\'").replace("'", "\\'")
    return f"'{escaped}'"
