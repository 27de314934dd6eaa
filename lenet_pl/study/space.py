"""What is varied: ranges and choices of a training's settings, checked at both ends before anything is created."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lenet_pl.composition import conf_dir
from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings, nearest_key, setting_keys, validate
from lenet_pl.settings.help_page import choices_of

if TYPE_CHECKING:
    import optuna

Group = Callable[[str, str], dict[str, Any]]  # (group, choice) → the settings of that choice
WORDS = ("low", "high", "log", "step", "choices")
ACCEPTED = "{low: ..., high: ...} with log: true or step: ... if wanted, or {choices: [...]}"
# Trials that differ in these could not be compared, or would differ in nothing.
FIXED = {"data", "data.name", "data.root", "data.path", "data.test_path", "data.download", "data_root", "logger", "run"}
FIXED |= {"seed", "seeds", "vectorise", "resume", "train", "test", "traceback", "trainer.limit_val_batches"}
FIXED_GROUPS = ("data.split.", "callbacks.checkpoint.", "logger.")


@dataclass(frozen=True)
class Dimension:
    """One setting and what it may be.

    Attributes:
        key: dotted, of the training's settings.
        low: smallest value.
        high: largest value.
        step: distance of two values; None: any value between, or 1 for whole numbers.
        log: draw the logarithm evenly.
        whole: only whole numbers.
        choices: values by the name that the study keeps for them; empty for a range.
        sections: settings of each choice, where the key is a configuration group.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False
    choices: tuple[tuple[Any, Any], ...] = ()
    sections: tuple[tuple[Any, dict[str, Any]], ...] = ()

    def suggest(self, trial: optuna.Trial) -> Any:
        """Draw a value for a trial; returns its name in the study."""
        if self.choices:
            return trial.suggest_categorical(self.key, [name for name, _ in self.choices])
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, step=self.step, log=self.log)

    def ends(self) -> list[Any]:
        """List what must be possible: all choices, or both ends."""
        if self.choices:
            return [name for name, _ in self.choices]
        return [int(self.low), int(self.high)] if self.whole else [self.low, self.high]


class Space:
    """All dimensions, over the settings of a training.

    Args:
        given: of `search.space`: nested or dotted keys with a range or choices at the end.
        base: a training's settings as plain values.
        group: composes the settings of a choice of a configuration group.

    Raises:
        SettingError: a key is unknown or fixed, a range is empty or reversed, or a value is one that training refuses.
    """

    def __init__(self, given: dict[str, Any], base: dict[str, Any], group: Group) -> None:
        self.base = base
        found = list(_flatten(given))
        for key, _ in found:
            if key in FIXED or f"{key}.".startswith(FIXED_GROUPS):
                raise SettingError(f"search.space.{key}: not searched; accepted are settings by which training differs")
        self.dimensions = [_dimension(key, words, base, group) for key, words in found]
        self._check()
        self.dimensions = [self._whole_or_not(dimension) for dimension in self.dimensions]

    def describe(self) -> dict[str, Any]:
        """Say as plain JSON values what is searched."""
        return {
            d.key: {"choices": [value for _, value in d.choices]}
            if d.choices
            else {"low": d.low, "high": d.high, "step": d.step, "log": d.log, "whole": d.whole}
            for d in self.dimensions
        }

    def settings(self, values: dict[str, Any]) -> TrainSettings:
        """Build a trial's settings from its values, by the names that the study keeps.

        Raises:
            SettingError: the combination is one that training refuses.
        """
        plain = copy.deepcopy(self.base)
        for dimension in sorted(self.dimensions, key=lambda d: not d.sections):  # groups first, then parts of them
            if dimension.key not in values:
                continue
            name = values[dimension.key]
            value = dict(dimension.sections or dimension.choices)[name] if dimension.choices else name
            parent, _, last = dimension.key.rpartition(".")
            here = _at(plain, parent)
            if not isinstance(here, dict) or last not in here:
                keys = setting_keys(plain)
                near = nearest_key(dimension.key, keys) or "see --help for what there is"
                raise SettingError(f"{dimension.key}: unknown setting; {near}")
            here[last] = copy.deepcopy(value)
        return validate(TrainSettings, plain)

    def _check(self) -> None:
        """Try both ends and all choices of each dimension, with every combination of groups."""
        groups = [d for d in self.dimensions if d.sections]
        for chosen in itertools.product(*(d.ends() for d in groups)):
            sections = dict(zip((d.key for d in groups), chosen, strict=True))
            for dimension in self.dimensions:
                for end in dimension.ends():
                    try:
                        self.settings({**sections, dimension.key: end} if dimension not in groups else sections)
                    except SettingError as error:
                        beside = "".join(f" with {k}={v}" for k, v in sections.items() if k != dimension.key)
                        text = str(error) if str(error).startswith(dimension.key) else f"{dimension.key}: {error}"
                        raise SettingError(f"search.space.{text}{beside}") from None

    def _whole_or_not(self, dimension: Dimension) -> Dimension:
        """Draw whole numbers only where the range is written in them and the setting takes no others."""
        if not dimension.whole or dimension.step:
            return dimension
        try:
            sections = {d.key: d.ends()[0] for d in self.dimensions if d.sections}
            self.settings(sections | {dimension.key: dimension.low + 0.5})
        except SettingError:
            return dimension
        return Dimension(dimension.key, float(dimension.low), float(dimension.high), log=dimension.log)


def _flatten(given: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield dotted keys and their words; a group may have choices of its own beside its settings."""
    for name, value in given.items():
        key = f"{prefix}{name}"
        if not isinstance(value, dict) or not value:
            raise SettingError(f"search.space.{key}: got {value!r}; accepted is {ACCEPTED}")
        words = {word: content for word, content in value.items() if word in WORDS}
        if words:
            yield key, words
        yield from _flatten({k: v for k, v in value.items() if k not in WORDS}, f"{key}.")


def _dimension(key: str, words: dict[str, Any], base: dict[str, Any], group: Group) -> Dimension:
    """Check the words of one dimension."""
    where = f"search.space.{key}"
    if "choices" in words:
        if len(words) > 1:
            raise SettingError(f"{where}: got {', '.join(words)}; accepted is {ACCEPTED}")
        return _choice(key, words["choices"], base, group)
    for end in ("low", "high"):
        if end not in words:
            raise SettingError(f"{where}: {end} is missing; accepted is {ACCEPTED}")
    numbers = {word: words[word] for word in ("low", "high", "step") if words.get(word) is not None}
    for word, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SettingError(f"{where}: {word}={value!r}; accepted is a finite number")
    low, high, step = words["low"], words["high"], words.get("step")
    log = words.get("log") or False
    if not isinstance(log, bool):
        raise SettingError(f"{where}: log={log!r}; accepted is true or false")
    if low >= high:
        kind = "empty" if low == high else "reversed"
        raise SettingError(f"{where}: low={low}, high={high} is {kind}; accepted is low < high")
    if log and low <= 0:
        raise SettingError(f"{where}: low={low} with log=true; accepted is low > 0, or log=false")
    if log and step is not None:
        raise SettingError(f"{where}: step={step} with log=true; accepted is one of the two")
    if step is not None:
        steps = (high - low) / step if step > 0 else 0.0
        if steps < 1 or abs(steps - round(steps)) > 1e-6:
            raise SettingError(f"{where}: step={step}; accepted is a part of high - low = {high - low:g}")
    whole = all(isinstance(value, int) for value in numbers.values())
    return Dimension(key, low, high, step, log, whole)


def _choice(key: str, given: Any, base: dict[str, Any], group: Group) -> Dimension:
    where = f"search.space.{key}"
    if not isinstance(given, list) or not given:
        raise SettingError(f"{where}: choices={given!r}; accepted is a list of at least one")
    # The study keeps lists and the like as text; Optuna compares names by ==, by which 1 is 1.0 and True
    plain = [v if v is None or isinstance(v, bool | int | float | str) else json.dumps(v) for v in given]
    if any(a == b for a, b in itertools.combinations(plain, 2)):
        raise SettingError(f"{where}: choices={given!r}; accepted is each choice once")
    choices = tuple(zip(plain, given, strict=True))
    if key not in base or not (conf_dir() / key).is_dir():
        return Dimension(key, choices=choices)
    names = choices_of(conf_dir() / key)
    for name in plain:
        if name not in names:
            raise SettingError(f"{where}: got {name!r}; accepted is {', '.join(names)}")
    return Dimension(key, choices=choices, sections=tuple((name, group(key, str(name))) for name in plain))


def _at(values: Any, key: str) -> Any:
    """Look up a dotted key; None where there is nothing."""
    for part in key.split(".") if key else ():
        values = values.get(part) if isinstance(values, dict) else None
    return values
