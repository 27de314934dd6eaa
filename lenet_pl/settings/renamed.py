"""Translation of the names of earlier versions, on the command line and in their files.

On the command line an old name is an error that gives the new one. Files are translated: `upgraded` for the settings of
runs, checkpoints and experiments, `upgraded_results` for results.json, `upgraded_metadata` for exported files.
"""

from collections.abc import Mapping
from typing import Any

from lenet_pl.settings.old_names import CHOICES, KEYS, METADATA, REMOVED, RESULTS, TRAIN, VALUES
from lenet_pl.settings.parts import is_plugged


def explain_renamed(command: str, override: str) -> str | None:
    """Describe the new name of an override; None if its names are the present ones.

    Args:
        command: The name of the command.
        override: `key=value`, `key` or `~key`, with or without a leading +.
    """
    key, equals, value = override.partition("=")
    plain = key.lstrip("+~")
    sign, came = key.removesuffix(plain), value or "no value"
    if not plain.startswith("search.space."):  # the only place to which keys can be added
        sign = sign.replace("+", "")
    if plain in REMOVED and command in ("train", "search"):
        return f"{plain}: got {came}; {REMOVED[plain]}"
    new = KEYS.get(command, {}).get(plain, plain)
    names = (CHOICES | VALUES).get(new.removeprefix("search.space."), {})
    changed = ",".join(names.get(one.strip("'\" "), one) for one in value.split(","))  # of a sweep, several
    if new == plain and (changed == value or not equals):
        return None
    called = changed if new == plain else new
    write = sign + new if sign == "~" and not equals else f"{sign}{new}={changed or '<value>'}"
    return f"{plain}: got {came}; it is now called {called}, write {write}"


def new_key(command: str, key: str) -> str:
    """Return the new name of a dotted key; empty if the key is not an old name."""
    return KEYS.get(command, {}).get(key, "")


def upgraded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Translate nested plain settings of a training; groups without old names are not copied.

    If both the old and the new name are present, the value of the new one is kept. Settings that a version with
    plug-ins recorded have no old names; a plug-in may use such a name for a setting of its own.
    """
    if "plugins" in settings:
        return dict(settings)
    return _renamed(settings, {old: new for old, new in TRAIN.items() if not is_plugged(old)}, set(REMOVED))


def upgraded_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the content of a results.json."""
    return _renamed(results, RESULTS, set())


def upgraded_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the metadata of an exported file."""
    return _renamed(metadata, {old: new for old, new in METADATA.items() if not is_plugged(old)}, set())


def upgraded_parameter(key: str, value: Any = None) -> tuple[str, Any]:
    """Translate a dotted setting of a training and its value."""
    new = key if is_plugged(key) else TRAIN.get(key, key)
    names = (CHOICES | VALUES).get(new, {})
    return new, names.get(value, value) if isinstance(value, str) else value


def upgraded_defaults(defaults: list[Any]) -> list[Any]:
    """Translate the choices in a defaults list of Hydra."""

    def upgraded(group: str, choice: Any) -> Any:
        names = CHOICES.get(group.rpartition("/")[2], {})
        return names.get(choice, choice) if isinstance(choice, str) else choice  # a list of choices, or null

    return [
        {group: upgraded(group, choice) for group, choice in entry.items()} if isinstance(entry, dict) else entry
        for entry in defaults
    ]


def _renamed(values: Mapping[str, Any], keys: Mapping[str, str], removed: set[str]) -> dict[str, Any]:
    new = {name: value for name, value in values.items() if name not in removed}
    for old, name in keys.items():
        if _holds(new, old):
            value = _pop(new, old)
            if not _holds(new, name):
                _put(new, name, value)
    for key, names in VALUES.items():
        if _holds(new, key) and isinstance(value := _at(new, key), str) and value in names:
            _put(new, key, names[value])
    return new


def _at(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values[name]
    return values


def _holds(values: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def _pop(values: dict[str, Any], key: str) -> Any:
    """Remove a value. The groups that contain it are copied, and dropped if they become empty."""
    name, _, rest = key.partition(".")
    if not rest:
        return values.pop(name)
    values[name] = dict(values[name])
    value = _pop(values[name], rest)
    if not values[name]:
        del values[name]
    return value


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a value. The groups that contain it are copied."""
    name, _, rest = key.partition(".")
    if not rest:
        values[name] = value
        return
    values[name] = dict(values[name]) if isinstance(values.get(name), dict) else {}
    _put(values[name], rest, value)
