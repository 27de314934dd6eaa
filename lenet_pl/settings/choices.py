"""Choices of the groups in `conf/`, read without Hydra, so that they can be used inside any program."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lenet_pl.config_files.folders import conf_dir
from lenet_pl.errors import SettingError, did_you_mean


def list_choices(group: str) -> list[str]:
    """List the names of a group, such as "model", in alphabetical order."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def read_choice(group: str, name: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read the plain values of a choice, such as `conf/model/lenet_bn.yaml`, and what it inherits.

    Args:
        group: The name of the group, such as "model".
        name: The name of the choice.
        changes: Values that replace those of the file; nested groups are merged. Interpolations are not resolved.

    Raises:
        SettingError: There is no such choice, or a value that the file requires is not given.
    """
    names = list_choices(group)
    if name not in names:
        near = did_you_mean(str(name), names)
        raise SettingError(f"{group}: got {name!r}; must be one of {', '.join(names)}{near and f'; {near}'}")
    config = OmegaConf.merge(_read(conf_dir() / group, name), OmegaConf.create(dict(changes or {})))
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    plain = {str(key): value for key, value in values.items()}
    for key in (key for key, value in plain.items() if value == "???"):
        raise SettingError(f"{key}: no value given; a value is required")
    return plain


def _read(folder: Path, name: str) -> DictConfig:
    """Merge a file over the files of its defaults list, of which `_self_` is the last."""
    config = OmegaConf.load(folder / f"{name}.yaml")
    assert isinstance(config, DictConfig)
    inherited = [_read(folder, other) for other in config.pop("defaults", []) if other != "_self_"]
    merged = OmegaConf.merge(*inherited, config)
    assert isinstance(merged, DictConfig)
    return merged
