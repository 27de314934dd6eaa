"""The help page of a command, generated from its file in `conf/`.

Hydra shows the values without the comments, which document each setting and its unit. The resolvers below are for
`hydra.help.template`. Importing this module registers them.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from lenet_pl.plugins.registry import plugged_names
from lenet_pl.settings.parts import offered_choices


def purpose(conf: Path, name: str) -> str:
    """Return the comment at the top of a command's file: its usage and what it does."""
    lines = _read(conf, name).splitlines()
    header = [
        line.removeprefix("# ") for line in lines[: next(k for k, x in enumerate(lines) if not x.startswith("#"))]
    ]
    return "\n".join(header)


def choices(conf: Path, name: str) -> str:
    """List the config groups of a command with their choices, one line each, without those of Hydra."""
    return "\n".join(f"{group}: {', '.join(choices_of(conf / group))}" for group in groups_of(conf, name))


def groups_of(conf: Path, name: str) -> list[str]:
    """List the config groups of a command alphabetically, including those of its base file."""
    entries = yaml.safe_load(_read(conf, name))["defaults"]
    own = {group for entry in entries if isinstance(entry, dict) for group in entry if (conf / group).is_dir()}
    return sorted(own.union(*(groups_of(conf, other) for other in parents_of(conf, name))))


def parents_of(conf: Path, name: str) -> list[str]:
    """List the base files of a command's file."""
    entries = yaml.safe_load(_read(conf, name))["defaults"]
    return [entry for entry in entries if isinstance(entry, str) and entry != "_self_"]


def settings(conf: Path, name: str) -> str:
    """Return the settings of a command with defaults and comments, including those of its base file."""
    own = _blocks(conf, name)
    for parent in parents_of(conf, name):
        own = {key: block for key, block in _blocks(conf, parent).items() if key not in own} | own
    return "".join(own.values()).rstrip()


def _blocks(conf: Path, name: str) -> dict[str, str]:
    """Split a file at its top-level keys, without those of Hydra."""
    blocks = re.split(r"(?m)^(?=\w)", _read(conf, name))
    named = {block.partition(":")[0]: f"{block.rstrip()}\n" for block in blocks}
    return {
        key: block for key, block in named.items() if re.fullmatch(r"\w+", key) and key not in ("defaults", "hydra")
    }


def choices_of(folder: Path) -> list[str]:
    """List the choices of a group: its files, those in subfolders as `folder/name`, and the parts of plug-ins."""
    return sorted({*_files(folder), *plugged_names(folder.name)})


def choices_with(folder: Path, key: str) -> list[str]:
    """List the choices of a group that define a setting themselves."""
    own = {name: yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")) for name in _files(folder)}
    own |= {name: values for name, values in offered_choices(folder.name).items() if name not in own}
    having = {name for name, values in own.items() if _holds(values, key)}
    return sorted(name for name in having if not having & set(own[name].get("defaults", ())))


def _files(folder: Path) -> list[str]:
    return [file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")]


def _holds(values: Any, key: str) -> bool:
    """Whether nested values have a dotted key."""
    name, _, rest = key.partition(".")
    return isinstance(values, dict) and name in values and (not rest or _holds(values[name], rest))


def _read(conf: Path, name: str) -> str:
    return (conf / f"{name}.yaml").read_text(encoding="utf-8")


def _register() -> None:
    """Register the resolvers `${help_purpose:}`, `${help_choices:}`, `${help_settings:}` and `${help_folder:}`."""

    def conf(root: Any) -> Path:
        return Path(next(source.path for source in root.hydra.runtime.config_sources if source.provider == "main"))

    for part in (purpose, choices, settings):

        def resolve(*, _root_: Any, _part: Any = part) -> str:
            text: str = _part(conf(_root_), _root_.hydra.job.config_name)
            return text.replace("$", "$$")  # Hydra fills in a string.Template

        OmegaConf.register_new_resolver(f"help_{part.__name__}", resolve, replace=True)
    OmegaConf.register_new_resolver("help_folder", lambda *, _root_: str(conf(_root_)), replace=True)


_register()
