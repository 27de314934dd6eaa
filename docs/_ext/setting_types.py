"""What a setting takes, in words: "integer ≥ 1 or `null`"."""

import inspect
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo


def branches(annotation: Any) -> list[Any]:
    """List the members of a union, nested ones and those behind `Annotated` included."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        if get_origin(inner) in (Union, types.UnionType):
            return branches(inner)
        return [Annotated[inner, *extra]] if not is_class(inner) else [inner]
    if origin in (Union, types.UnionType):
        return [branch for one in get_args(annotation) for branch in branches(one)]
    return [annotation]


def classes_of(annotation: Any) -> list[type[BaseModel]]:
    """List the settings classes among the members of a union."""
    return [one for one in branches(annotation) if is_class(one)]


def is_class(annotation: Any) -> bool:
    """Whether it is a class of settings."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def describe_type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Say in Markdown what a setting takes: "integer ≥ 1 or `null`"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(arguments[0], [*_flat(arguments[1:]), *metadata])
    if origin in (Union, types.UnionType):
        members = [describe_type(one) for one in arguments]
        return " or ".join(dict.fromkeys(sorted(members, key=lambda text: text == "`null`")))
    if origin is Literal:
        return ", ".join(f"`{plain(value)}`" for value in arguments)
    if origin is list:
        size = _length(metadata)
        return f"list{size} of {describe_type(arguments[0])}"
    if origin is dict or annotation is Any:
        return "mapping" if origin is dict else "any value"
    if annotation is type(None):
        return "`null`"
    if annotation is bool:
        return "`true`, `false`"
    if annotation in (int, float):
        return ("integer" if annotation is int else "number") + _range(metadata)
    if annotation is str:
        return "path" if any("expand_home" in repr(one) for one in metadata) else "text"
    if is_class(annotation):
        return "settings"
    return str(getattr(annotation, "__name__", annotation))


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for one in metadata:
        yield from (one.metadata if isinstance(one, FieldInfo) else [one])


def _range(metadata: Iterable[Any]) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    found = {
        name: value
        for one in metadata
        for name in signs
        if isinstance(one, annotated_types.Gt | annotated_types.Ge | annotated_types.Lt | annotated_types.Le)
        and (value := getattr(one, name, None)) is not None
    }
    if ("ge" in found or "gt" in found) and ("le" in found or "lt" in found):
        low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
        start = "[" if "ge" in found else "("
        end = "]" if "le" in found else ")"
        return f" in {start}{_number(low)}, {_number(high)}{end}"
    return "".join(f" {signs[name]} {_number(value)}" for name, value in found.items())


def _number(value: Any) -> str:
    power = {2**31: "2³¹", 2**32: "2³²", 2**63: "2⁶³"}
    return power.get(value, f"{value:g}" if isinstance(value, float) else str(value))


def _length(metadata: Iterable[Any]) -> str:
    low = next((one.min_length for one in metadata if isinstance(one, annotated_types.MinLen)), 0)
    high = next((one.max_length for one in metadata if isinstance(one, annotated_types.MaxLen)), None)
    if high is not None:
        return f" ({low})" if low == high else f" (at most {high})"
    return ""


def plain(value: Any) -> str:
    """Write one of a few values as on the command line."""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def is_choice(annotation: Any) -> bool:
    """Whether it is one of a few values."""
    return get_origin(annotation) is Literal
