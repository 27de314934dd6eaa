"""Build registered parts from their settings."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from lenet_pl.errors import SettingError, UserError
from lenet_pl.plugins.kinds import KINDS
from lenet_pl.plugins.loading import line_in_plugin
from lenet_pl.plugins.parameters import leading, signature_of
from lenet_pl.plugins.registry import Entry, entries


def entry_of(kind: str, settings: Any) -> Entry:
    """Return the registered part that settings belong to."""
    return entries(kind)[getattr(settings, KINDS[kind].tag)]


def loaded(kind: str, settings: Any) -> Any:
    """Return the registered object of settings: a class, or a function that builds the part."""
    return entry_of(kind, settings).load()


def build(kind: str, settings: Any, *leading_values: Any, **context: Any) -> Any:
    """Build a part.

    Args:
        kind: Name of the kind.
        settings: The checked settings of the part, which name it.
        leading_values: Values of the leading parameters, such as the parameters that an optimizer gets.
        context: Values that are no settings, such as `num_classes`. The object gets those that it takes.

    Returns:
        What the registered object returns. A function that is itself the part is returned with its settings bound.

    Raises:
        SettingError: The object of a plug-in raises an error, or a metric does not fit the number of classes.
    """
    entry = entry_of(kind, settings)
    target = entry.load()
    values = arguments(entry, target, settings, context)
    if not entry.plugin and kind != "metric":
        return target(*leading_values, **values)
    if leading(KINDS[kind], target) and not leading_values:
        return functools.partial(target, **values)
    try:
        return target(*leading_values, **values)
    except UserError:
        raise
    except Exception as error:  # code from outside may raise anything
        whose = f" of the plug-in {entry.plugin}" if entry.plugin else ""
        where = f", {line}" if (line := line_in_plugin(error)) else ""
        raise SettingError(
            f"{KINDS[kind].group}: {entry.name}{whose} cannot be built "
            f"({type(error).__name__}: {' '.join(str(error).split())}{where}); "
            "use traceback=true to see how it was called"
        ) from error


def arguments(entry: Entry, target: Callable[..., Any], settings: Any, context: dict[str, Any]) -> dict[str, Any]:
    """Collect the keyword arguments that the object of a part takes: its settings first, then the context."""
    parameters = signature_of(target)
    if "settings" in parameters:
        return {"settings": settings} | {name: value for name, value in context.items() if name in parameters}
    kind, declared = KINDS[entry.kind], getattr(entry.settings, "model_fields", {})
    own = {
        name: getattr(settings, name)
        for name in type(settings).model_fields
        if name != kind.tag and (name in declared or name not in kind.context)
    }
    given = context | own
    taken = {name: _like(parameters[name], value) for name, value in given.items() if name in parameters}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        taken |= {name: value for name, value in own.items() if name in declared and entry.plugin}
    return taken


def _like(parameter: inspect.Parameter, value: Any) -> Any:
    """Convert a list to a tuple where the default is one."""
    return tuple(value) if isinstance(parameter.default, tuple) and isinstance(value, list) else value
