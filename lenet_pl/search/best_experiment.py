"""Write the best settings as an experiment file for `lenet_pl.train`: the differences from its defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from lenet_pl.cli.resume_overrides import quoted
from lenet_pl.config_files.groups import choices as group_choices
from lenet_pl.errors import printable
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.parts import offered_choices
from lenet_pl.settings.roles import Role, values_of

NAMED = ("data", "model", "loss", "optimizer", "scheduler")  # groups whose `name` is the name of their file
KEPT = (Role.RECIPE, Role.EVALUATION, Role.NUMERICS)


def write_experiment(path: Path, settings: TrainSettings, header: list[str]) -> None:
    """Write settings as a file of the config group `experiment`.

    Args:
        path: The path of the file.
        settings: The settings of the best trial.
        header: The comment lines at its top, without `#`.
    """
    names = {group: getattr(settings, group).name for group in NAMED}
    choices = {group: name for group, name in names.items() if name in group_choices(group)}
    wanted = values_of(settings, *KEPT)
    required = [("data", "path")] if hasattr(settings.data, "path") else []
    required += [
        (group, key)
        for group, name in choices.items()
        for key, value in offered_choices(group).get(name, {}).items()
        if value == "???"
    ]
    places = [f"{group}.{key}={_quote(wanted[group][key])}" for group, key in required]
    overrides = [f"{group}={name}" for group, name in choices.items()]
    base = values_of(compose("train", TrainSettings, ["run=unused", *overrides, *places]), *KEPT)
    changed = _difference(base, wanted)
    for group, key in required:
        changed.setdefault(group, {})[key] = wanted[group][key]
    defaults = [{f"override /{group}": name} for group, name in choices.items()]
    text = yaml.safe_dump({"defaults": defaults, **changed}, sort_keys=False, allow_unicode=True)
    comment = "".join(f"# {printable(line)}\n" for line in header)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(f"# @package _global_\n{comment}{text}", encoding="utf-8")
    part.replace(path)


def _difference(base: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the values of `wanted` that differ from `base`; lists are not compared item by item."""
    changed: dict[str, Any] = {}
    for key, value in wanted.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                changed[key] = inner
        elif key not in base or old != value:
            changed[key] = value
    return changed


def _quote(value: Any) -> str:
    """Write a value as an override of Hydra."""
    if not isinstance(value, str):
        return quoted(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
