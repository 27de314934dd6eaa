"""Values of settings and results: flattened to dotted keys, compared, and formatted."""

import json
from typing import Any

from lenet_pl.display.text import shorten
from lenet_pl.errors import printable

MISSING = object()  # None is a valid value of a setting
LONGEST = 48  # maximum length of a name or value in a table
FEW, ITEM = 2, 14  # items of a long list that a table shows, and the length of each


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


def show_short(value: Any) -> str:
    """Format a value for a table; of a list that is too long, its length and first items: "5 values: a, b, …".

    A mapping in the list, such as a teacher, is shown by its `name`.
    """
    text = show(value)
    if not isinstance(value, list) or len(text) <= LONGEST:
        return text
    names = [item.get("name", item) if isinstance(item, dict) else item for item in value]
    some = [shorten(show(name), ITEM) for name in names[:FEW]]
    return f"{len(value)} value{'s' * (len(value) != 1)}: {', '.join(some + ['…'] * (len(value) > FEW))}"
