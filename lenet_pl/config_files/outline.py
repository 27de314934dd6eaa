"""The settings that a command has with some choices, composed from the files in milliseconds instead of by Hydra.

Tab completion needs the keys alone. Interpolations stay as they are written, and packages other than `_global_` are
ignored.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lenet_pl.config_files.groups import file_of, read

GLOBAL = ("experiment", "debug")  # groups whose files change other groups


def outline(command: str, chosen: Mapping[str, str]) -> dict[str, Any]:
    """Return the nested settings of a command.

    Args:
        command: Name of the command.
        chosen: Choices of groups, such as {"model": "lenet_bn"}; without them, the default choices.
    """
    wider = [
        file for group in GLOBAL if group in chosen for file in _with_bases(f"{group}/{chosen[group]}", f"{group}/")
    ]
    taken: dict[str, str | None] = dict(pair for name in wider for pair in _choices(name)) | dict(chosen)
    values: dict[str, Any] = {}
    for name in _with_bases(command, ""):
        for group, default in _choices(name):
            choice = taken.get(group, default)
            for file in _with_bases(f"{group}/{choice}", f"{group}/") if choice else ():
                _merge(values, _own(file) if _is_global(file) else {group: _own(file)})
        _merge(values, _own(name))
    return values


def _with_bases(name: str, group: str) -> Iterator[str]:
    """Yield the base files of a configuration, then itself."""
    for entry in read(name).get("defaults") or ():
        if isinstance(entry, str) and entry != "_self_" and f"{group}{entry}" != name:
            yield from _with_bases(f"{group}{entry}", group)
    yield name


def _choices(config: str) -> Iterator[tuple[str, str | None]]:
    """Yield the groups in the defaults of a configuration, each with its choice."""
    for entry in read(config).get("defaults") or ():
        for group, choice in entry.items() if isinstance(entry, dict) else ():
            if not (name := str(group).removeprefix("override ").removeprefix("/")).startswith("hydra/"):
                yield name, choice


def _own(name: str) -> dict[str, Any]:
    return {key: value for key, value in read(name).items() if key not in ("defaults", "hydra")}


def _is_global(name: str) -> bool:
    file = file_of(name)
    return bool(file and "@package _global_" in file.read_text(encoding="utf-8").partition("\n")[0])


def _merge(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        old = values.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value)
        else:
            values[key] = {**value} if isinstance(value, dict) else value
