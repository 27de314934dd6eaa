"""The help page of a command, generated from its file in `conf/` and from the classes of its settings.

Hydra shows the values without their meaning and unit, and looks through all groups of its own for a page that does
not list them. The resolvers below are for `hydra.help.template`. Importing this module registers them.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from lenet_pl.config_files.folders import conf_dir, folders
from lenet_pl.config_files.groups import choices, file_of, groups_of, parents_of
from lenet_pl.runtime.startup import as_typed
from lenet_pl.settings.fields import field_of, settings_class, values_of_field
from lenet_pl.settings.types import Settings

WIDTH = 40  # columns before the comments


def purpose(name: str) -> str:
    """Return the comment at the top of a command's file: its usage and what it does."""
    lines = _read(name).splitlines()
    header = [
        line.removeprefix("# ") for line in lines[: next(k for k, x in enumerate(lines) if not x.startswith("#"))]
    ]
    return as_typed("\n".join(header))


def list_choices(name: str) -> str:
    """List the config groups of a command with their choices, one line each, without those of Hydra."""
    return "\n".join(f"{group}: {', '.join(choices(group))}" for group in groups_of(name))


def settings(name: str) -> str:
    """Return the settings of a command with defaults and comments, including those of its base file."""
    own = _blocks(name)
    for parent in parents_of(name):
        own = {key: block for key, block in _blocks(parent).items() if key not in own} | own
    return "".join(own.values()).rstrip()


def composed_settings(name: str, config: DictConfig) -> str:
    """Return the composed settings of a command, each with its meaning as a comment."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = OmegaConf.to_container(own, resolve="--resolve" in sys.argv)
    assert isinstance(plain, dict)
    values = {str(key): value for key, value in plain.items()}
    return "\n".join(_lines(settings_class(name), values, values))


def _lines(kind: type[Settings], values: Mapping[str, Any], part: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield a line for each setting, indented by group. An empty line precedes each group of the top level."""
    after_group = False
    for name, value in part.items():
        key, indent = f"{prefix}{name}", "  " * prefix.count(".")
        is_group = isinstance(value, dict) and bool(value)
        text = f"{indent}{name}:" if is_group else f"{indent}{name}: {_flow(value)}"
        meaning = _meaning(kind, values, key)
        if not prefix and (is_group or after_group):
            yield ""
        after_group = is_group
        yield f"{text.ljust(WIDTH)} # {meaning}" if meaning else text
        if is_group:
            yield from _lines(kind, values, value, f"{key}.")


def _meaning(kind: type[Settings], values: Mapping[str, Any], key: str) -> str:
    field = field_of(kind, key, values)
    if not field or not field.description:
        return ""
    named = [value for value in values_of_field(field) if value not in ("true", "false", "null")]
    meaning = " ".join(field.description.split()).rstrip(".")
    missing = [value for value in named if value not in meaning]
    return f"{meaning} ({', '.join(named)})" if len(named) > 1 and missing else meaning


def _flow(value: Any) -> str:
    """Write a value on one line, as it is written in YAML."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=sys.maxsize, allow_unicode=True)
        .removesuffix("\n...\n")
        .strip()
    )


def _blocks(name: str) -> dict[str, str]:
    """Split a file at its top-level keys, without those of Hydra."""
    blocks = re.split(r"(?m)^(?=\w)", _read(name))
    named = {block.partition(":")[0]: f"{block.rstrip()}\n" for block in blocks}
    return {
        key: block for key, block in named.items() if re.fullmatch(r"\w+", key) and key not in ("defaults", "hydra")
    }


def _read(name: str) -> str:
    file = file_of(name)
    return file.read_text(encoding="utf-8") if file else ""


def _folders() -> str:
    """Name the folders of configuration files."""
    return " and ".join(str(folder) for folder in folders())


def _register() -> None:
    """Register the resolvers `${help_purpose:}`, `${help_choices:}`, `${help_settings:}` and so on."""
    parts = {"purpose": purpose, "choices": list_choices, "settings": settings}
    for part, write in parts.items():

        def resolve(*, _root_: Any, _write: Any = write) -> str:
            text: str = _write(_root_.hydra.job.config_name)
            return text

        OmegaConf.register_new_resolver(f"help_{part}", resolve, replace=True)
    OmegaConf.register_new_resolver(
        "help_values",
        lambda *, _root_: composed_settings(_root_.hydra.job.config_name, _root_),
        replace=True,
    )
    OmegaConf.register_new_resolver("help_folder", lambda: str(conf_dir()), replace=True)
    OmegaConf.register_new_resolver("help_folders", _folders, replace=True)
    OmegaConf.register_new_resolver("as_typed", lambda text: as_typed(str(text)), replace=True)


_register()
