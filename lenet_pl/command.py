"""The command line: Hydra composes, settings are checked, errors become one line and an exit code.

Imports nothing heavy, so that `--help`, tab completion and mistakes answer at once.
"""

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lenet_pl.errors import SettingError, UserError, did_you_mean
from lenet_pl.interruption import Interruption
from lenet_pl.settings import Settings, nearest_key, setting_keys, validate
from lenet_pl.settings.trained import TrainedSettings

AnySettings = TypeVar("AnySettings", bound=Settings)


OPTIONAL_GROUPS = ("experiment", "debug")


def conf_dir() -> Path:
    """Find the configuration: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def run_command(
    name: str,
    kind: type[AnySettings],
    work: Callable[[AnySettings, Path], Any],
    prepare: Callable[[AnySettings, Path, Sequence[str], bool], AnySettings | None] | None = None,
) -> None:
    """Compose `conf/<name>.yaml` with the command line, check it, and do the work; ends the process on an error.

    Exit codes: 2 for settings, 1 for the rest, 128 + its number after a signal.

    Args:
        name: of the verb and of its configuration file.
        kind: the settings that the verb takes.
        work: receives the settings and the run folder, which exists.
        prepare: receives settings, run folder, overrides of the command line and whether it is a job of a sweep;
            returns the settings to work with, or None where nothing is left to do. By default a used folder is refused.
    """
    failures: list[int] = []  # exit codes; a failed job of a sweep does not stop the others
    started = False

    def job(config: DictConfig) -> None:
        nonlocal started
        started = True
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            settings = to_settings(kind, config)
            ready: AnySettings | None = settings
            if prepare:
                given = HydraConfig.get()
                ready = prepare(settings, folder, given.overrides.task, given.mode == RunMode.MULTIRUN)
            elif not issubclass(kind, TrainedSettings):  # those verbs make their folder later, beside the run
                refuse_used_folder(folder)
            if ready is not None:
                work(ready, folder)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                error.add_note(f"job {HydraConfig.get().job.num} ({' '.join(HydraConfig.get().overrides.task)})")
            failures.append(_complain(error, name, started))
            if folder.resolve() != Path.cwd():
                remove_empty(folder)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands over its errors in place of printing several lines
    try:
        refuse_arguments()
        hydra.main(config_path=str(conf_dir()), config_name=name, version_base="1.3")(job)()
    except (KeyboardInterrupt, SystemExit, Interruption) as stop:
        failures.append(_interrupted(stop, name))
    except Exception as error:
        failures.append(_complain(error, name, started))
    if failures:
        sys.exit(max(failures))


def remove_empty(folder: Path) -> None:
    """Remove the folder that Hydra made for a refused run, and empty ones above it; what holds files stays."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the folder is not below this one
        folder.rmdir()
        for parent in folder.relative_to(Path.cwd()).parents[:-1]:
            parent.rmdir()


def refuse_arguments() -> None:
    """Raise SettingError for command lines that make Hydra print more than a line, or train something else."""
    known, unknown = get_args_parser().parse_known_args()
    if unknown and unknown[0].startswith("-"):
        raise SettingError(f"{unknown[0]}: no such option; settings are written key=value, see --help")
    if unknown:
        raise SettingError(f"{unknown[0]}: out of place; options such as -m stand before all settings")
    for option in ("config_path", "config_dir", "config_name"):
        if value := getattr(known, option):
            raise SettingError(f"--{option.replace('_', '-')}: got {value}; not taken, settings are written key=value")
    for override in known.overrides:
        group, _, choice = override.partition("=")
        if not group:
            raise SettingError(f"{override}: no setting named; settings are written key=value, see --help")
        if choice == "null" and group in OPTIONAL_GROUPS:
            sys.argv.remove(override)  # it is the default, which Hydra does not take as a choice
        if choice == "null" and (conf_dir() / group).is_dir() and group not in OPTIONAL_GROUPS:
            choices = sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))
            raise SettingError(f"{group}: got null; accepted is {', '.join(choices)}")


def to_settings(kind: type[AnySettings], config: DictConfig) -> AnySettings:
    """Turn a composed configuration into checked settings.

    Raises:
        SettingError: a key is unknown, missing, of the wrong type or out of range.
    """
    for key in sorted(OmegaConf.missing_keys(config)):
        raise SettingError(f"{key}: no value given; a value is required, as in {key}=...")
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return validate(kind, {str(k): v for k, v in values.items()})


def compose(name: str, kind: type[AnySettings], overrides: Sequence[str] = ()) -> AnySettings:
    """Compose settings as the command line does, for use in Python.

    Args:
        name: of the configuration file, "train" for one.
        kind: of the settings.
        overrides: such as "model=lenet_bn".
    """
    return to_settings(kind, _compose(name, overrides))


def _compose(name: str, overrides: Sequence[str]) -> DictConfig:
    if GlobalHydra.instance().is_initialized():  # inside a command
        return hydra.compose(name, list(overrides))
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(name, list(overrides))


def refuse_used_folder(folder: Path) -> None:
    """Raise SettingError if anything is in the folder already."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return  # one of several processes of a run that the first one has begun
    if (folder / "config.yaml").exists():
        raise SettingError(f"run: {folder} holds a run already; accepted is a new or an empty folder")
    if any(folder.iterdir()):
        raise SettingError(f"run: {folder} is not empty; accepted is a new or an empty folder")


def explain(error: BaseException, name: str) -> str:
    """Say in one line which setting or file is wrong, what came, and what is accepted."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        near = did_you_mean(choice, error.options)
        return f"{group}={choice}: no such {group}; {near + ' ' if near else ''}accepted: {', '.join(error.options)}"
    text = " ".join(str(error).split())
    if wrong := re.match(r"Could not (?:override|delete from config)[. ].*?'([^']+)'", text):
        return (
            f"{wrong[1]}: unknown setting; {nearest_key(wrong[1], known_keys(name)) or 'see --help for what there is'}"
        )
    if appended := re.match(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"+{appended[1]}: exists already; write {appended[1]}=... without the +"
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return (
            f"{key}: cannot read {value or 'it'}; a value with spaces or special characters is written \"{key}='...'\""
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        return text
    if isinstance(error, yaml.YAMLError):
        return f"configuration file: {text}"
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    return f"unexpected {type(error).__name__}: {text or 'no message'}; traceback=true shows where it arose"


def known_keys(name: str) -> list[str]:
    """List every dotted key of the configuration that no override has touched."""
    values = OmegaConf.to_container(_compose(name, ()))
    assert isinstance(values, dict)
    return setting_keys({str(k): v for k, v in values.items()})


def _interrupted(stop: BaseException, name: str) -> int:
    """Say that a signal ended the work; return 128 + its number, as shells do. Another exit is passed on."""
    if isinstance(stop, Interruption):
        code = stop.exit_code
    elif isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        code = 130
    elif type(stop).__name__ == "SIGTERMException":  # Lightning's, an exit without a code, which would count as success
        code = 143
    else:
        raise stop
    more = "; run=<its folder> resume=true goes on" if name == "train" else ""
    print(f"error: interrupted; {name} is not finished{more}", file=sys.stderr)
    return code


def _complain(error: Exception, name: str, started: bool) -> int:
    """Print one line, or all there is if `traceback=true` was asked for; return the exit code."""
    if "traceback=true" in (argument.lower() for argument in sys.argv):
        traceback.print_exception(error)
    line = explain(error, name)
    if isinstance(error, OSError) and not isinstance(error, HydraException) and not started:
        line = f"run: {line}; accepted is a folder that can be written"
    where = "".join(f"{note}: " for note in getattr(error, "__notes__", []))
    print(f"error: {where}{line}", file=sys.stderr)
    if isinstance(error, UserError):
        return error.exit_code
    return SettingError.exit_code if isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError) else 1
