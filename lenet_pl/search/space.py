"""The search space: ranges and choices of training settings, checked at both ends before anything is created."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

from lenet_pl.errors import SettingError
from lenet_pl.search.dimension import Dimension
from lenet_pl.search.parse_space import Group, flatten_space, parse_dimension
from lenet_pl.settings import TrainSettings, nearest_key, setting_keys, validate
from lenet_pl.settings.renamed import upgraded_parameter
from lenet_pl.settings.roles import Role, roles

# Settings with another role have no effect on the value of a trial, or make trials incomparable
SEARCHED = (Role.RECIPE, Role.NUMERICS)
ROLES = roles(TrainSettings)


class Space:
    """The dimensions of a search, and the settings that all trials share.

    Args:
        given: The value of `search.space`: nested or dotted keys that end in a range or choices.
        base: The training settings as plain values.
        group: A function that composes the settings of a choice of a config group.

    Raises:
        SettingError: A key is unknown or cannot be searched, a range is empty or reversed, or a value is invalid for a
            training.
    """

    def __init__(self, given: dict[str, Any], base: dict[str, Any], group: Group) -> None:
        self.base = base
        found = list(flatten_space(given))
        for key, _ in found:
            if ROLES.get(key, Role.RECIPE) not in SEARCHED:
                raise SettingError(f"search.space.{key}: cannot be searched; must be a setting of the training")
        self.dimensions = [parse_dimension(key, words, base, group) for key, words in found]
        self._check()
        self.dimensions = [self._whole_or_not(dimension) for dimension in self.dimensions]

    def keep_names(self, recorded: dict[str, Any]) -> None:
        """Sample under the parameter names of a study of an earlier version, because a study cannot rename them.

        Args:
            recorded: The search space that the study recorded.
        """
        names = {upgraded_parameter(name)[0]: name for name in recorded}
        self.dimensions = [
            _named(dimension, names[dimension.key], recorded[names[dimension.key]])
            if dimension.key in names
            else dimension
            for dimension in self.dimensions
        ]

    def parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        """Give the parameters of a trial the keys of the dimensions."""
        return {d.key: params[d.name] for d in self.dimensions if d.name in params}

    def describe(self) -> dict[str, Any]:
        """Describe the space as plain JSON values."""
        return {
            d.key: {"choices": [value for _, value in d.choices]}
            if d.choices
            else {"low": d.low, "high": d.high, "step": d.step, "log": d.log, "whole": d.whole}
            for d in self.dimensions
        }

    def settings(self, values: dict[str, Any]) -> TrainSettings:
        """Build the settings of a trial from its values, as stored in the study.

        Raises:
            SettingError: The combination is invalid for a training.
        """
        plain = copy.deepcopy(self.base)
        for dimension in sorted(self.dimensions, key=lambda d: not d.sections):  # config groups before their settings
            if dimension.key not in values:
                continue
            name = values[dimension.key]
            value = dict(dimension.sections or dimension.choices)[name] if dimension.choices else name
            parent, _, last = dimension.key.rpartition(".")
            here = _at(plain, parent)
            if not isinstance(here, dict) or last not in here:
                keys = setting_keys(plain)
                near = nearest_key(dimension.key, keys) or "see --help for the available settings"
                raise SettingError(f"{dimension.key}: unknown setting; {near}")
            here[last] = copy.deepcopy(value)
        return validate(TrainSettings, plain)

    def _check(self) -> None:
        """Check both ends or all choices of each dimension, with every combination of config groups."""
        groups = [d for d in self.dimensions if d.sections]
        for chosen in itertools.product(*(d.ends() for d in groups)):
            sections = dict(zip((d.key for d in groups), chosen, strict=True))
            for dimension in self.dimensions:
                for end in dimension.ends():
                    try:
                        self.settings({**sections, dimension.key: end} if dimension not in groups else sections)
                    except SettingError as error:
                        combined = "".join(f" with {k}={v}" for k, v in sections.items() if k != dimension.key)
                        text = str(error) if str(error).startswith(dimension.key) else f"{dimension.key}: {error}"
                        raise SettingError(f"search.space.{text}{combined}") from None

    def _whole_or_not(self, dimension: Dimension) -> Dimension:
        """Sample integers only if the range is written in integers and the setting rejects other numbers."""
        if not dimension.whole or dimension.step:
            return dimension
        try:
            sections = {d.key: d.ends()[0] for d in self.dimensions if d.sections}
            self.settings(sections | {dimension.key: dimension.low + 0.5})
        except SettingError:
            return dimension
        return Dimension(dimension.key, float(dimension.low), float(dimension.high), log=dimension.log)


def _named(dimension: Dimension, name: str, words: dict[str, Any]) -> Dimension:
    """Give a dimension and its choices the names of an earlier version."""
    old = {upgraded_parameter(name, value)[1]: value for value in words.get("choices", ()) if isinstance(value, str)}
    return replace(
        dimension,
        old_name=name,
        choices=tuple((old.get(choice, choice), value) for choice, value in dimension.choices),
        sections=tuple((old.get(choice, choice), section) for choice, section in dimension.sections),
    )


def _at(values: Any, key: str) -> Any:
    """Look up a dotted key; None if it is missing."""
    for part in key.split(".") if key else ():
        values = values.get(part) if isinstance(values, dict) else None
    return values
