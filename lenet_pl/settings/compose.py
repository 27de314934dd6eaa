"""Composition of settings from `conf/` and overrides, for the command line and for Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lenet_pl.config_files.folders import conf_dir, own_folder
from lenet_pl.errors import SettingError
from lenet_pl.settings import (
    Settings,
    help_page,  # noqa: F401 - registers what `--help` is made of
    setting_keys,
    validate,
)
from lenet_pl.settings.parts import offer_choices
from lenet_pl.settings.types import expand_home

AnySettings = TypeVar("AnySettings", bound=Settings)


def to_settings(kind: type[AnySettings], config: DictConfig) -> AnySettings:
    """Validate a composed configuration.

    Raises:
        SettingError: A key is unknown, missing, of the wrong type or out of range.
    """
    for key in sorted(OmegaConf.missing_keys(config)):
        raise SettingError(f"{key}: no value given; a value is required, as in {key}=...")
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return validate(kind, {str(k): v for k, v in values.items()})


def compose(
    name: str, kind: type[AnySettings], overrides: Sequence[str] = (), config_dir: str | Path | None = None
) -> AnySettings:
    """Compose settings as the command line does, for use in Python.

    Args:
        name: The name of the configuration file, such as "train".
        kind: The class of the settings.
        overrides: The overrides, such as "model=lenet_bn".
        config_dir: The folder of your own configuration files. By default, that of the variable LENET_PL_CONF, else
            that of `[tool.lenet_pl]` in pyproject.toml; inside a command, that of the command.

    Raises:
        SettingError: A setting is invalid, or the folder cannot be used.
    """
    return to_settings(kind, _compose(name, overrides, config_dir))


def help_text(name: str, overrides: Sequence[str], config_dir: str | Path | None) -> str:
    """Compose the help page of a command, with the values that the overrides give."""
    return str(_compose(name, overrides, config_dir, with_hydra=True).hydra.help.template)


def _compose(
    name: str, overrides: Sequence[str], config_dir: str | Path | None = None, *, with_hydra: bool = False
) -> DictConfig:
    offer_choices()  # a plug-in may have been imported since
    if config_dir is None and GlobalHydra.instance().is_initialized():  # inside a command
        return hydra.compose(name, list(overrides))
    own = own_folder(None if config_dir is None else str(config_dir))
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(name, _with_folder(overrides, own), return_hydra_config=with_hydra)


def _with_folder(overrides: Sequence[str], own: Path | None) -> list[str]:
    """Add the user's folder to Hydra's search path, before the folders of an override `hydra.searchpath`."""
    key = "hydra.searchpath="
    given = next((word for word in overrides if word.startswith(f"{key}[")), f"{key}[]")
    others = given.removeprefix(f"{key}[")
    kept = [word for word in overrides if word != given]
    return [*kept, f"{key}['file://{own.resolve()}'{'' if others == ']' else ','}{others}"] if own else list(overrides)


def _local_path(key: str, *, _root_: Any) -> str:
    """Resolve `${local_path:key}`, the folder in a setting, for directories that Hydra creates itself.

    Raises:
        SettingError: The value is missing, or names the home directory of an unknown user.
    """
    if OmegaConf.is_missing(_root_, key):
        raise SettingError(f"{key}: no value given; a value is required, as in {key}=...")
    if (value := OmegaConf.select(_root_, key)) is None:
        raise SettingError(f"{key}: got null; must be the path of a folder")
    try:
        return expand_home(str(value))
    except ValueError as error:
        raise SettingError(f"{key}: {error}") from None


OmegaConf.register_new_resolver("local_path", _local_path, replace=True)


def known_keys(name: str) -> list[str]:
    """List all dotted keys of the configuration without overrides."""
    values = OmegaConf.to_container(_compose(name, ()))
    assert isinstance(values, dict)
    return setting_keys({str(k): v for k, v in values.items()})
