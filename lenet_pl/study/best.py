"""The best settings as an experiment that `lenet_pl.train` takes: what differs from its defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from lenet_pl.composition import compose, conf_dir
from lenet_pl.errors import printable
from lenet_pl.settings import TrainSettings

NAMED = ("data", "model", "optimizer", "scheduler")  # groups whose choices carry the name of their file
# Of a run, not of a recipe
OWN = {"run", "seed", "seeds", "vectorise", "train", "test", "traceback", "data_root", "logger", "resume"}
MACHINE = {  # says where a training runs, not what it is
    "trainer": ("accelerator", "devices", "strategy", "threads", "profiler"),
    "callbacks": ("progress_bar", "model_summary"),
    "data": ("root",),
}


def write_experiment(path: Path, settings: TrainSettings, header: list[str]) -> None:
    """Write settings as a file of the group `experiment`.

    Args:
        path: of the file.
        settings: of the best trial.
        header: comment lines.
    """
    names = {group: getattr(settings, group).name for group in NAMED}
    choices = {group: name for group, name in names.items() if (conf_dir() / group / f"{name}.yaml").exists()}
    wanted = settings.model_dump(exclude=OWN)
    places = [f"data.path={_quote(settings.data.path)}"] if hasattr(settings.data, "path") else []
    overrides = [f"{group}={name}" for group, name in choices.items()]
    base = compose("train", TrainSettings, ["run=unused", *overrides, *places]).model_dump(exclude=OWN)
    for values in (wanted, base):
        for group, keys in MACHINE.items():
            for key in keys:
                values[group].pop(key, None)
    changed = _difference(base, wanted)
    if places:
        changed.setdefault("data", {})["path"] = wanted["data"]["path"]
    defaults = [{f"override /{group}": name} for group, name in choices.items()]
    text = yaml.safe_dump({"defaults": defaults, **changed}, sort_keys=False, allow_unicode=True)
    comment = "".join(f"# {printable(line)}\n" for line in header)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(f"# @package _global_\n{comment}{text}", encoding="utf-8")
    part.replace(path)


def _difference(base: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What must be changed in `base` to become `wanted`; lists and groups that were null are whole."""
    changed: dict[str, Any] = {}
    for key, value in wanted.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                changed[key] = inner
        elif key not in base or old != value:
            changed[key] = value
    return changed


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
