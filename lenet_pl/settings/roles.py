"""The role of each setting: part of the recipe, of the machine, of one call. Marked once, in the type of the field.

`progress_bar: Annotated[bool, Role.COSMETIC]` marks a setting, or a group with all that is in it. What a command does
with a setting follows from its role: `keys_of` and `values_of` replace lists of names.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo

from lenet_pl.settings.parts import Part
from lenet_pl.settings.types import Settings


class Role(Enum):
    """The role of a setting."""

    RECIPE = "what is learned, and how; the role of a setting without a mark"
    EVALUATION = "what runs are judged on and by; runs that differ in it cannot be compared"
    NUMERICS = "precision and compilation: part of a recipe, and of what a machine can do"
    SEED = "which repetition of a recipe"
    STAGE = "which stages of a run take place"
    MACHINE = "device, processes, threads and what is measured of them; at most the last digits of figures"
    LOCATION = "where datasets lie on this machine"
    OUTPUT = "which logs are written"
    COSMETIC = "what is shown on the terminal"
    COMMAND = "what one call does; not a property of the run"


NO_EFFECT = (Role.COMMAND, Role.LOCATION, Role.OUTPUT, Role.COSMETIC)
"""Roles of settings that change no figure."""


def roles(kind: type[Settings]) -> dict[str, Role]:
    """Map the dotted key of every setting, groups included, to its role.

    A group has the role it is marked with, or else that of its `name`. Choices of a group agree on the roles of the
    keys they share.
    """
    return dict(_walk(kind, "", Role.RECIPE))


def keys_of(kind: type[Settings], *wanted: Role) -> set[str]:
    """List the dotted keys that have one of the roles."""
    return {key for key, role in roles(kind).items() if role in wanted}


def values_of(settings: Settings, *wanted: Role) -> dict[str, Any]:
    """Return the settings with one of the roles, as nested plain values."""
    return selected(settings.model_dump(), type(settings), *wanted)


def selected(values: dict[str, Any], kind: type[Settings], *wanted: Role) -> dict[str, Any]:
    """Select the settings with one of the roles, and unknown keys, from nested plain values."""
    return _select(values, roles(kind), wanted)


def _select(
    values: dict[str, Any], table: dict[str, Role], wanted: tuple[Role, ...], prefix: str = ""
) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and any(other.startswith(f"{key}.") for other in table):
            if inner := _select(value, table, wanted, f"{key}."):
                taken[name] = inner
        elif table.get(key) in (None, *wanted):
            taken[name] = value
    return taken


def _walk(kind: type[Settings], prefix: str, inherited: Role) -> Iterator[tuple[str, Role]]:
    for name, field in kind.model_fields.items():
        key, role = f"{prefix}{name}", _role(field, inherited)
        groups = list(groups_in(field.annotation, *field.metadata))
        chosen = {_role(group.model_fields["name"], role) for group in groups if "name" in group.model_fields}
        yield key, chosen.pop() if role is Role.RECIPE and len(chosen) == 1 else role
        for group in groups:
            yield from _walk(group, f"{key}.", role)


def _role(field: FieldInfo, inherited: Role) -> Role:
    return next((mark for mark in field.metadata if isinstance(mark, Role)), inherited)


def groups_in(annotation: Any, *marks: Any) -> Iterator[type[Settings]]:
    """Yield the settings classes in a type: alone, in a union, or of the registered parts that it stands for."""
    if parts := [mark for mark in marks if isinstance(mark, Part)]:
        yield from parts[0].classes()
    elif get_origin(annotation) is dict:
        return  # its keys are chosen by the user
    elif isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from groups_in(*get_args(annotation))
    else:
        for inner in get_args(annotation):
            yield from groups_in(inner)
