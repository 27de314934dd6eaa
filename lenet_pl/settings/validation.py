"""Validation of plain values as settings, with one-line errors."""

import copy
import re
from typing import Any, TypeVar

from pydantic import ValidationError

from lenet_pl.errors import SettingError, did_you_mean
from lenet_pl.settings.fields import describe_number, field_of
from lenet_pl.settings.old_names import KEYS
from lenet_pl.settings.synonyms import same_value
from lenet_pl.settings.types import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


def validate(kind: type[AnySettings], values: dict[str, Any]) -> AnySettings:
    """Build settings from plain values.

    Raises:
        SettingError: A value is invalid. The message has the first invalid key, its value, the allowed values, and how
            many more are invalid.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found: dict[str, list[Any]] = {}
        for problem in error.errors(include_url=False):
            found.setdefault(_key(problem, values), []).append(problem)
    # A value that fits no branch of a union has a problem for each branch; the one that is deepest says most.
    wrong = [key for key in found if not any(other.startswith(f"{key}.") for other in found)]
    more = f" (and {len(wrong) - 1} more wrong)" if len(wrong) > 1 else ""
    key = wrong[0]
    accepted = " or null" if found[key][0]["input"] is not None and _takes_null(kind, values, key) else ""
    field = field_of(kind, key, values)
    raise SettingError(_line(key, found[key], values, accepted, describe_number(field) if field else "") + more)


def setting_keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    """List the dotted keys of a nested dictionary, including groups."""
    keys = []
    for name, value in values.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += setting_keys(value, f"{prefix}{name}.")
    return keys


def nearest_key(key: str, keys: list[str]) -> str:
    """Suggest the setting that was probably meant: the shortest path to the same last part, or a similar spelling."""
    same = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"did you mean {min(same, key=lambda k: k.count('.'))}?" if same else did_you_mean(key, keys)


def _takes_null(kind: type[Settings], values: dict[str, Any], key: str) -> bool:
    """Whether null would be a valid value; False for entries of lists."""
    changed = copy.deepcopy(values)
    here: Any = changed
    *groups, last = key.split(".")
    for group in groups:
        here = here.get(group) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        return False
    here[last] = None
    try:
        kind.model_validate(changed)
    except ValidationError as error:
        return all(_key(problem, changed) != key for problem in error.errors(include_url=False))
    return True


def _key(problem: Any, values: Any) -> str:
    """Return the dotted key of pydantic's location, without the names of union branches."""
    parts, here, loc = [], values, problem["loc"]
    for part in loc:
        known = isinstance(here, dict) and part in here
        if isinstance(here, list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        elif known:
            here = here[part]
        elif part is not loc[-1] or problem["type"] not in ("extra_forbidden", "missing"):
            continue
        parts.append(str(part))
    tag = [problem["ctx"]["discriminator"].strip("'")] if problem["type"] == "union_tag_invalid" else []
    return ".".join([*parts, *tag])


def _line(key: str, problems: list[Any], values: dict[str, Any], or_null: str, number: str) -> str:
    first = problems[0]
    if first["type"] == "extra_forbidden":
        # In a config file of the user. A key without a dot can be the old name of another command's setting
        if new := next((names[key] for names in KEYS.values() if "." in key and key in names), ""):
            return f"{key}: it is now called {new}"
        others = [k for k in setting_keys(values) if k != key and not k.startswith(f"{key}.")]
        return f"{key}: unknown setting; {nearest_key(key, others) or 'see --help for what there is'}"
    if first["type"] == "missing":
        return f"{key}: no value given; a value{or_null} is required"
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
        inner = re.match(r"[a-z_.]+: got ", message)  # a check of a whole group names the key in it
        return f"{key}.{message}" if inner else f"{key}: {message}"
    came = first["input"]
    if first["type"] == "union_tag_invalid":
        came = came[first["ctx"]["discriminator"].strip("'")]
    several = list(dict.fromkeys(_accepted(problem) for problem in problems))
    if isinstance(came, bool) and number:  # true might stand for any strength
        several = list(dict.fromkeys(number if one in ("an integer", "a number") else one for one in several))
    accepted = " or ".join(several)
    choices = re.findall("'([^']+)'", accepted)
    same = same_value(str(came))
    near = f"did you mean {same}?" if same in choices else did_you_mean(as_written(came).strip("'"), choices)
    near = "" if isinstance(came, bool) else near
    return f"{key}: got {as_written(came)}; must be {accepted}{or_null}" + (f"; {near}" if near else "")


def as_written(value: Any) -> str:
    """Format a value as on the command line; strings in quotes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _accepted(problem: Any) -> str:
    """Describe the values that one branch of a setting allows."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "union_tag_invalid":
        return " or ".join(str(context["expected_tags"]).rsplit(", ", 1))
    if kind == "union_tag_not_found":
        return f"a group of settings that has {context['discriminator']}"
    if kind in ("model_type", "model_attributes_type"):
        return "a group of settings"
    if kind == "too_short":
        return f"a list of at least {context['min_length']}"
    if kind == "too_long":
        return f"a list of at most {context['max_length']}"
    if kind == "string_too_short":
        return "non-empty text"
    if kind == "string_pattern_mismatch":
        return "A-Za-z0-9, dot, underscore and hyphen"
    return (
        str(problem["msg"])
        .replace("a valid integer", "an integer")
        .removeprefix("Input should be ")
        .replace("a valid boolean", "true or false")
        .replace("a valid ", "a ")
    )
