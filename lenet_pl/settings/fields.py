"""The field of a setting, found by its dotted key: its description, the values that it takes, and their range."""

import types
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lenet_pl.settings.roles import groups_in
from lenet_pl.settings.types import Settings, expand_home

TAGS = ("architecture", "name")  # fields by which the class of a group is chosen
LIMITS = ("ge", "gt", "le", "lt")


def settings_class(command: str) -> type[Settings]:
    """Return the class of a command's settings, `TrainSettings` for `train`."""
    found: type[Settings] = getattr(import_module(f"lenet_pl.settings.{command}"), f"{command.title()}Settings")
    return found


def field_of(kind: type[Settings], key: str, values: Mapping[str, Any]) -> FieldInfo | None:
    """Find the field of a setting.

    Args:
        kind: The class of the settings.
        key: The dotted key of the setting.
        values: Nested plain values of all settings, which say what is chosen of each group.

    Returns:
        The field. None if the chosen classes have no such setting.
    """
    name, _, rest = key.partition(".")
    field = kind.model_fields.get(name)
    if field is None or not rest:
        return field
    inner = values.get(name)
    inner = inner if isinstance(inner, Mapping) else {}
    found = class_of(field, inner)
    return field_of(found, rest, inner) if found else None


def class_of(field: FieldInfo, values: Mapping[str, Any]) -> type[Settings] | None:
    """Return the settings class of a field that the values are for. None if there is none."""
    classes = list(groups_in(field.annotation, *field.metadata))
    tagged = [one for one in classes if _tags(one)]
    fitting = [one for one in tagged if all(values.get(name) in allowed for name, allowed in _tags(one).items())]
    return next(iter([*fitting, *(one for one in classes if one not in tagged)]), None)


def branches(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield the members of a type, nested unions and items of lists included, each with its metadata."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [meta for one in arguments[1:] for meta in (one.metadata if isinstance(one, FieldInfo) else [one])]
        yield from branches(arguments[0], (*inner, *metadata))
    elif origin in (Union, types.UnionType):
        for one in arguments:
            yield from branches(one, metadata)
    elif origin is list:
        yield from branches(arguments[0])
    else:
        yield annotation, metadata


def values_of_field(field: FieldInfo) -> list[str]:
    """List the values of a setting that takes one of a few, as on the command line. Empty if it takes any others."""
    found: list[str] = []
    for one, _ in branches(field.annotation, tuple(field.metadata)):
        found += map(_as_typed, (True, False) if one is bool else get_args(one) if get_origin(one) is Literal else ())
        found += ["null"] if one is type(None) and found else []
    return list(dict.fromkeys(found))


def is_path(field: FieldInfo) -> bool:
    """Whether a setting takes paths of files or folders."""
    found = branches(field.annotation, tuple(field.metadata))
    return any(getattr(meta, "func", None) is expand_home for _, metadata in found for meta in metadata)


def describe_number(field: FieldInfo) -> str:
    """Describe the numbers that a setting takes, such as "a number from 0 to 1". Empty if it takes no number."""
    found = [(one, meta) for one, meta in branches(field.annotation, tuple(field.metadata)) if one in (int, float)]
    if not found or get_origin(field.annotation) is list:
        return ""
    what = "a number" if any(one is float for one, _ in found) else "an integer"
    limits = {
        name: value for meta in found[0][1] for name in LIMITS if (value := getattr(meta, name, None)) is not None
    }
    if {"ge", "le"} <= set(limits):
        return f"{what} from {limits['ge']} to {limits['le']}"
    words = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
    texts = " and ".join(f"{words[name]} {value}" for name, value in limits.items())
    return f"{what}{' of' if texts.startswith('at') else ''} {texts}".strip()


def _tags(kind: type[Settings]) -> dict[str, tuple[Any, ...]]:
    fields = {name: kind.model_fields[name].annotation for name in TAGS if name in kind.model_fields}
    return {name: get_args(annotation) for name, annotation in fields.items() if get_origin(annotation) is Literal}


def _as_typed(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
