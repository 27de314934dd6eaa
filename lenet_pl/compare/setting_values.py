"""Values of settings and results: flattened to dotted keys, compared, and formatted."""

import json
from typing import Any

from lenet_pl.errors import printable

MISSING = object()  # None is a valid value of a setting
LONGEST = 48  # maximum length of a name or value in a table


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries to dotted keys; inner dictionaries are kept as well."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat[f"{prefix}{name}"] = value
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{name}.")
    return flat


def canonical(value: Any) -> str:
    """Format a value such that two strings are equal if and only if the values are; 1 equals 1.0."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is MISSING else json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def show(value: Any) -> str:
    """Format a value for display."""
    if value is MISSING:
        return "–"
    return printable(value if isinstance(value, str) else canonical(value))
