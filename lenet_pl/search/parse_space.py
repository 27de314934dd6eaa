"""Parsing of `search.space` into dimensions."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from lenet_pl.config_files import groups
from lenet_pl.errors import SettingError
from lenet_pl.search.dimension import Dimension

Group = Callable[[str, str], dict[str, Any]]  # (config group, choice) -> settings of that choice
WORDS = ("low", "high", "log", "step", "choices")
ACCEPTED = "{low: ..., high: ...}, optionally with log: true or step: ..., or {choices: [...]}"


def flatten_space(given: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield dotted keys with their range or choices; a config group may have choices in addition to its settings."""
    for name, value in given.items():
        key = f"{prefix}{name}"
        if not isinstance(value, dict) or not value:
            raise SettingError(f"search.space.{key}: got {value!r}; must be {ACCEPTED}")
        words = {word: content for word, content in value.items() if word in WORDS}
        if words:
            yield key, words
        yield from flatten_space({k: v for k, v in value.items() if k not in WORDS}, f"{key}.")


def parse_dimension(key: str, words: dict[str, Any], base: dict[str, Any], group: Group) -> Dimension:
    """Check and build one dimension."""
    where = f"search.space.{key}"
    if "choices" in words:
        if len(words) > 1:
            raise SettingError(f"{where}: got {', '.join(words)}; must be {ACCEPTED}")
        return _choice(key, words["choices"], base, group)
    for end in ("low", "high"):
        if end not in words:
            raise SettingError(f"{where}: {end} is missing; must be {ACCEPTED}")
    numbers = {word: words[word] for word in ("low", "high", "step") if words.get(word) is not None}
    for word, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SettingError(f"{where}: {word}={value!r}; must be a finite number")
    low, high, step = words["low"], words["high"], words.get("step")
    log = words.get("log") or False
    if not isinstance(log, bool):
        raise SettingError(f"{where}: log={log!r}; must be true or false")
    if low >= high:
        kind = "empty" if low == high else "reversed"
        raise SettingError(f"{where}: low={low}, high={high} is {kind}; must be low < high")
    if log and low <= 0:
        raise SettingError(f"{where}: low={low} with log=true; use low > 0, or log=false")
    if log and step is not None:
        raise SettingError(f"{where}: step={step} with log=true; use only one of the two")
    if step is not None:
        steps = (high - low) / step if step > 0 else 0.0
        if steps < 1 or abs(steps - round(steps)) > 1e-6:
            raise SettingError(f"{where}: step={step}; must divide high - low = {high - low:g}")
    whole = all(isinstance(value, int) for value in numbers.values())
    return Dimension(key, low, high, step, log, whole)


def _choice(key: str, given: Any, base: dict[str, Any], group: Group) -> Dimension:
    where = f"search.space.{key}"
    if not isinstance(given, list) or not given:
        raise SettingError(f"{where}: choices={given!r}; must be a list of at least one")
    # The study stores lists and mappings as text. Optuna compares choices by ==, for which 1, 1.0 and True are equal
    plain = [v if v is None or isinstance(v, bool | int | float | str) else json.dumps(v) for v in given]
    if any(a == b for a, b in itertools.combinations(plain, 2)):
        raise SettingError(f"{where}: choices={given!r}; must be distinct")
    choices = tuple(zip(plain, given, strict=True))
    if key not in base or not groups.is_group(key):
        return Dimension(key, choices=choices)
    names = groups.choices(key)
    for name in plain:
        if name not in names:
            raise SettingError(f"{where}: got {name!r}; must be {', '.join(names)}")
    return Dimension(key, choices=choices, sections=tuple((name, group(key, str(name))) for name in plain))
