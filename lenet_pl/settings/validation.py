"""From plain values to settings, or to one line that says what is wrong."""

from typing import Any, TypeVar

from pydantic import ValidationError

from lenet_pl.errors import SettingError, did_you_mean
from lenet_pl.settings.types import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


def validate(kind: type[AnySettings], values: dict[str, Any]) -> AnySettings:
    """Build settings from plain values.

    Raises:
        SettingError: names the first wrong key, what came, what is accepted, and how many more are wrong.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines: dict[str, str] = {}
        for problem in error.errors(include_url=False):
            key, line = _key(problem["loc"], values), _line(problem, values)
            # A value that fits no branch of a union is reported once for each branch.
            lines[key] = f"{lines[key]}, or {line.rpartition('accepted is ')[2]}" if key in lines else line
        more = f" (and {len(lines) - 1} more wrong)" if len(lines) > 1 else ""
        raise SettingError(next(iter(lines.values())) + more) from None


def setting_keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    """List dotted keys of a nested dictionary, groups included."""
    keys = []
    for name, value in values.items():
        keys.append(f"{prefix}{name}")
        if isinstance(value, dict):
            keys += setting_keys(value, f"{prefix}{name}.")
    return keys


def nearest_key(key: str, keys: list[str]) -> str:
    """Suggest the setting that was probably meant by `key`: same last part first, then similar spelling."""
    same = [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]]
    return f"did you mean {same[0]}?" if same else did_you_mean(key, keys)


def _key(loc: tuple[int | str, ...], values: Any) -> str:
    """Dotted key of pydantic's location, less the names of union branches, which are not keys."""
    parts, here = [], values
    for part in loc:
        known = isinstance(here, dict) and part in here
        if isinstance(here, list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        elif known:
            here = here[part]
        elif part is not loc[-1] or not isinstance(here, dict) or here.get("name") == part:
            continue
        parts.append(str(part))
    return ".".join(parts)


def _line(problem: Any, values: dict[str, Any]) -> str:
    key = _key(problem["loc"], values)
    if problem["type"] == "extra_forbidden":
        others = [k for k in setting_keys(values) if k != key and not k.startswith(f"{key}.")]
        return f"{key}: unknown setting; {nearest_key(key, others) or 'see --help for what there is'}"
    if problem["type"] == "missing":
        return f"{key}: no value given; a value is required"
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "accepted is")
    if problem["type"] == "value_error":
        return f"{key}: {message}"
    came = problem["input"]
    hint = ""
    if problem["type"] in ("literal_error", "union_tag_invalid"):
        context = problem["ctx"]
        expected = context.get("expected") or context.get("expected_tags")
        hint = did_you_mean(str(came), [e.strip("' ") for e in expected.replace(" or ", ",").split(",")])
    if problem["type"] == "union_tag_invalid":
        key, came, message = f"{key}.name", came["name"], f"accepted is {expected}"
    return f"{key}: got {came!r}; {message}" + (f"; {hint}" if hint else "")
