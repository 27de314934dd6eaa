"""The keyword arguments of a registered object, read as settings."""

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Number, Real
from os import PathLike
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lenet_pl.plugins.kinds import Kind

REQUIRED = object()  # the default of a parameter without one


@dataclass(frozen=True)
class Keyword:
    """A keyword argument that is a setting.

    Attributes:
        annotation: Its type, restricted to plain JSON types; Any without annotation.
        default: Its default, a plain JSON value, or `REQUIRED`.
    """

    annotation: Any
    default: Any


def signature_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function, with annotations evaluated where possible."""
    try:
        return dict(inspect.signature(target, eval_str=True).parameters)
    except (NameError, TypeError, SyntaxError, AttributeError):  # annotations that exist for type checkers only
        return dict(inspect.signature(target).parameters)


def leading(kind: Kind, target: Callable[..., Any]) -> int:
    """Count the leading parameters that are no settings."""
    return kind.positional or (0 if inspect.isclass(target) else kind.direct)


def keywords(kind: Kind, target: Callable[..., Any]) -> dict[str, Keyword]:
    """Return the keyword arguments that are settings: those with plain JSON types or without annotation."""
    found: dict[str, Keyword] = {}
    for parameter in list(signature_of(target).values())[leading(kind, target) :]:
        if parameter.name in kind.context or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = Any if parameter.annotation is parameter.empty else plain_type(parameter.annotation)
        given = parameter.default is not parameter.empty
        if annotation is None or (given and not _is_plain(parameter.default)):
            continue  # no value of a configuration file
        if given and parameter.default is None:
            annotation = annotation | None if annotation is not Any else Any
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        found[parameter.name] = Keyword(annotation, default if given else REQUIRED)
    return found


def plain_type(annotation: Any) -> Any:
    """Restrict a type to plain JSON types; None if it has none."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in (Any, int, float, bool, str, list, dict) or origin is Literal:
        return annotation
    if annotation in (None, types.NoneType):
        return types.NoneType
    if origin is Annotated:
        return annotation if plain_type(inner[0]) is not None else None
    if origin in (Union, types.UnionType):
        plain = [one for one in map(plain_type, inner) if one is not None]
        return Union[tuple(plain)] if any(one is not types.NoneType for one in plain) else None  # noqa: UP007
    if annotation in (Number, Real):
        return int | float
    kind = origin or annotation
    if not isinstance(kind, type):
        return None
    if issubclass(kind, PathLike):
        return str
    if issubclass(kind, Mapping):
        return dict[str, Any]
    if kind in (list, tuple, set) or (kind is not str and kind.__module__ == "collections.abc"):
        if not issubclass(kind, Iterable):
            return None
        items = [one for one in map(plain_type, (one for one in inner if one is not ...)) if one is not None]
        return list[Union[tuple(items)]] if items else list  # type: ignore[misc]  # noqa: UP007
    return None


def _is_plain(value: Any) -> bool:
    """Whether a value can be written in a configuration file."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
