"""Settings of registered parts: looked up by the name of the part, and made for parts of plug-ins."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import Field, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError, PydanticUndefined, core_schema

from lenet_pl.config_files.groups import choices_with, holds
from lenet_pl.errors import SettingError
from lenet_pl.plugins.kinds import KINDS, Kind
from lenet_pl.plugins.parameters import REQUIRED, keywords, signature_of
from lenet_pl.plugins.registry import Entry, entries, plugin_entries
from lenet_pl.settings.types import Settings

PLUGGED: dict[str, type[Settings]] = {}  # what the settings of a plug-in's part have besides its own, by kind
OFFERED: dict[str, dict[str, Any]] = {  # values of those settings; the defaults of the project's own parts are in conf/
    "model": {"image_size": 32},
    "data": {"split": {"method": "stratified", "val_size": 0.15, "fold": None}, "resize_mode": "pad"},
}
EXTENDABLE = {"root": "${data_root}"}  # required settings of a plug-in that have a value in every training


@dataclass(frozen=True)
class Part:
    """Annotation of a setting that holds the settings of a registered part: `Annotated[PartSettings, Part("model")]`.

    Attributes:
        kind: Name of the kind, a key of `KINDS`.
    """

    kind: str

    def classes(self) -> list[type[Settings]]:
        """List the settings classes of all registered parts of the kind."""
        return list(dict.fromkeys(settings_class(entry) for entry in entries(self.kind).values()))

    def class_of(self, name: str) -> type[Settings]:
        """Return the settings class of a registered part."""
        return settings_class(entries(self.kind)[name])

    def validate(self, value: Any) -> Settings:
        """Look up the settings class by the name in the value, and validate the value with it."""
        tag, named = KINDS[self.kind].tag, entries(self.kind)
        if isinstance(value, Settings):
            name = getattr(value, tag, None)
        elif isinstance(value, dict):
            name = value.get(tag)
            if tag not in value:
                raise PydanticKnownError("union_tag_not_found", {"discriminator": f"'{tag}'"})
        else:
            raise PydanticKnownError("model_attributes_type")
        if not isinstance(name, str) or name not in named:
            choices = ", ".join(f"'{choice}'" for choice in named)
            context = {"discriminator": f"'{tag}'", "tag": str(name), "expected_tags": choices}
            raise PydanticKnownError("union_tag_invalid", context)
        return settings_class(named[name]).model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        """Validate by `validate`, which sees the parts that are registered at that time."""
        return core_schema.no_info_plain_validator_function(self.validate)


@cache
def settings_class(entry: Entry) -> type[Settings]:
    """Return the settings class of a part. That of a plug-in's part is completed, or made from keyword arguments.

    Raises:
        SettingError: A plug-in's settings do not fit its object.
    """
    kind = KINDS[entry.kind]
    if not entry.plugin:
        assert entry.settings is not None
        return entry.settings
    own = _given_class(entry, kind) if entry.settings else _from_keywords(entry, kind)
    tagged: Any = {kind.tag: (Literal[entry.name], entry.name)}
    if entry.kind == "model":
        tagged["name"] = (str, entry.name)
    bases = tuple(dict.fromkeys((own, PLUGGED[entry.kind])))
    made: type[Settings] = create_model(own.__name__, __base__=bases, __module__=entry.plugin, **tagged)
    return made


def _given_class(entry: Entry, kind: Kind) -> type[Settings]:
    """Check the settings class of a plug-in's part."""
    where = f"plugins: {entry.plugin}: the settings of the {entry.kind} {entry.name}"
    if not (isinstance(entry.settings, type) and issubclass(entry.settings, Settings)):
        raise SettingError(f"{where} must be a class derived from lenet_pl.settings.Settings")
    parameters = signature_of(entry.load())
    if "settings" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return entry.settings
    fixed = {kind.tag, *PLUGGED[entry.kind].model_fields}
    if odd := [name for name in entry.settings.model_fields if name not in {*parameters, *fixed}]:
        raise SettingError(f"{where} have {odd[0]}, which its object does not take; must be a keyword argument of it")
    return entry.settings


def _from_keywords(entry: Entry, kind: Kind) -> type[Settings]:
    """Make a settings class of the keyword arguments of a plug-in's object."""
    fixed = PLUGGED[entry.kind].model_fields
    fields: Any = {
        name: (keyword.annotation, Field() if keyword.default is REQUIRED else Field(keyword.default))
        for name, keyword in keywords(kind, entry.load()).items()
        if name not in fixed and name != kind.tag
    }
    return create_model(f"{entry.name}_settings", __base__=PLUGGED[entry.kind], __module__=entry.plugin, **fields)


def offered_values(entry: Entry) -> dict[str, Any]:
    """Return the default of each setting of a plug-in's part, as its file in a config group would hold them.

    A setting without a default is "???", which must be given.
    """
    kind, offered = KINDS[entry.kind], OFFERED.get(entry.kind, {})
    parameters = signature_of(entry.load())
    values: dict[str, Any] = {kind.tag: entry.name}
    for name, field in settings_class(entry).model_fields.items():
        value = _default(field)
        if value == "???" and name in parameters and isinstance(parameters[name].default, int | float | str):
            value = parameters[name].default  # such as the image size that the object itself has
        values[name] = offered.get(name, EXTENDABLE.get(name, value)) if value == "???" else value
    return values


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "???"
    return value.model_dump() if isinstance(value, Settings) else value


def offered_choices(group: str) -> dict[str, dict[str, Any]]:
    """Return what plug-ins add to a config group: the values of each choice, as its file would hold them."""
    choices: dict[str, dict[str, Any]] = {}
    for entry in plugin_entries():
        if KINDS[entry.kind].group == group:
            values = offered_values(entry)
            choices[entry.name] = {entry.name: values} if KINDS[entry.kind].listed else values
    return choices


def is_plugged(key: str) -> bool:
    """Whether a part of a plug-in has a setting of this dotted key."""
    group, _, subkey = key.partition(".")
    return any(holds(values, subkey) for values in offered_choices(group).values())


def choices_with_key(group: str, key: str) -> list[str]:
    """List the choices of a group, with those of plug-ins, that define a setting themselves."""
    plugged = [name for name, values in offered_choices(group).items() if holds(values, key)]
    return sorted({*choices_with(group, key), *plugged})


def offer_choices() -> None:
    """Offer the parts of plug-ins as choices of their config groups, for which no file is needed.

    A file of the same name in a configuration folder takes precedence.
    """
    if not plugin_entries():
        return
    from hydra.core.config_store import ConfigStore

    for kind in KINDS.values():
        for name, values in offered_choices(kind.group).items():
            ConfigStore.instance().store(group=kind.group, name=name, node=values, provider="plugins")
