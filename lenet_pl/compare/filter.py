"""The setting `filter`: the runs to compare."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lenet_pl.compare.run import Run
from lenet_pl.compare.setting_values import MISSING, canonical, dotted, show
from lenet_pl.errors import SettingError, did_you_mean
from lenet_pl.settings import nearest_key
from lenet_pl.settings.renamed import new_key, upgraded_parameter


def parse_where(where: Mapping[str, Any] | Sequence[str] | str | None) -> dict[str, Any]:
    """Parse the setting `filter` into required values by key.

    Raises:
        SettingError: An item is not of the form key=value.
    """
    if isinstance(where, Mapping):
        return {key: value for key, value in dotted(dict(where)).items() if not isinstance(value, dict)}
    wanted: dict[str, Any] = {}
    for item in where.strip("[]").split(",") if isinstance(where, str) else where or ():
        key, equals, text = (part.strip() for part in item.partition("="))
        if not key or not equals:
            raise SettingError(f"filter: got {item!r}; must be {{key:value}} or 'key=value'")
        try:
            wanted[key] = json.loads(text)
        except ValueError:
            wanted[key] = text
    return wanted


def matching_runs(runs: list[Run], where: Mapping[str, Any]) -> list[Run]:
    """Select the runs that have all required values, and those whose values cannot be read."""
    for key, value in where.items():
        if all(run.value(key) is MISSING for run in runs):
            raise SettingError(unknown_key("filter", key, runs))
        known = {canonical(run.value(key)): show(run.value(key)) for run in runs if run.value(key) is not MISSING}
        if canonical(value) not in known:
            new = upgraded_parameter(key, value)[1]
            near = f"it is now called {new};" if new != value else did_you_mean(show(value), known.values())
            some = ", ".join(sorted(known.values())[:20])
            raise SettingError(
                f"filter: no run has {key}={show(value)}; {near + ' ' if near else ''}must be one of {some}"
            )
        unread = [run for run in runs if run.problem and run.value(key) is MISSING]
        runs = [run for run in runs if run in unread or canonical(run.value(key)) == canonical(value)]
    return runs


def unknown_key(setting: str, key: str, runs: list[Run]) -> str:
    """Say that no run has a key of `setting`, and which one is meant."""
    keys = sorted(set().union(*(run.keys() for run in runs)))
    if inside := [known for known in keys if known.startswith(f"{key}.")]:
        return f"{setting}: {key} is a group of settings; use one of them, such as {inside[0]}"
    if new := new_key("train", key):
        return f"{setting}: no run has {key}; it is now called {new}"
    near = nearest_key(key, keys) or "must be a key of results.json or a setting, such as optimizer.lr"
    return f"{setting}: no run has {key}; {near}"
