"""The config groups and their choices, in all folders of configuration files."""

from pathlib import Path
from typing import Any

import yaml

from lenet_pl.config_files.folders import folders
from lenet_pl.plugins.registry import plugged_names

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C is ten times as fast, where it was built


def is_group(name: str) -> bool:
    """Whether a folder of configuration files has a group of this name."""
    return bool(name) and any((folder / name).is_dir() for folder in folders())


def choices(group: str) -> list[str]:
    """List the choices of a group alphabetically, with those of the user and of plug-ins."""
    return sorted({*choices_of(*(folder / group for folder in folders())), *plugged_names(group)})


def choices_of(*places: Path) -> list[str]:
    """List the choices in folders of a group; those in subfolders as `folder/name`."""
    files = {file.relative_to(place).with_suffix("").as_posix() for place in places for file in place.rglob("*.yaml")}
    return sorted(files)


def file_of(name: str) -> Path | None:
    """Return the file of a configuration such as `train` or `model/lenet5`. None if there is none."""
    return next((file for folder in folders() if (file := folder / f"{name}.yaml").is_file()), None)


def read(name: str) -> dict[str, Any]:
    """Read the file of a configuration. Empty if there is none, or if it is no mapping."""
    file = file_of(name)
    content = yaml.load(file.read_text(encoding="utf-8"), Loader) if file else None
    return content if isinstance(content, dict) else {}


def choices_with(group: str, key: str) -> list[str]:
    """List the choices of a group that define a setting themselves."""
    own = {choice: read(f"{group}/{choice}") for choice in choices(group)}
    having = {choice for choice, values in own.items() if holds(values, key)}
    return sorted(choice for choice in having if not having & {str(entry) for entry in own[choice].get("defaults", ())})


def groups_of(command: str) -> list[str]:
    """List the config groups of a command alphabetically, including those of its base file."""
    entries = read(command).get("defaults", ())
    own = {group for entry in entries if isinstance(entry, dict) for group in entry if is_group(group)}
    return sorted(own.union(*(groups_of(other) for other in parents_of(command))))


def parents_of(command: str) -> list[str]:
    """List the base files of a command's file."""
    return [entry for entry in read(command).get("defaults", ()) if isinstance(entry, str) and entry != "_self_"]


def holds(values: Any, key: str) -> bool:
    """Whether nested values have a dotted key."""
    name, _, rest = key.partition(".")
    return isinstance(values, dict) and name in values and (not rest or holds(values[name], rest))
