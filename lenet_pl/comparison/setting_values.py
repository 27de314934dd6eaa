"""Values of settings and results: found by dotted keys, told apart, and written for people."""

import json
from typing import Any

from lenet_pl.errors import printable

MISSING = object()  # None is a value that settings take
LONGEST = 48  # characters of a name or value among others


def dotted(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries; groups are kept beside their parts."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat[f"{prefix}{name}"] = value
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{name}.")
    return flat


def canonical(value: Any) -> str:
    """Write a value so that equal ones are written alike, 1 and 1.0 too, and others differ."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is MISSING else json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def show(value: Any) -> str:
    """Write a value of a key for people."""
    if value is MISSING:
        return "–"
    return printable(value if isinstance(value, str) else canonical(value))
