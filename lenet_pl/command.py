"""The command line: Hydra composes, settings are checked, errors become one line and an exit code.

Imports nothing heavy, so that `--help`, tab completion and mistakes answer at once.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from lenet_pl.composition import conf_dir, to_settings
from lenet_pl.error_lines import exit_code, explain
from lenet_pl.errors import SettingError, printable
from lenet_pl.interruption import Interruption
from lenet_pl.settings import Settings
from lenet_pl.settings.help_page import choices_of
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.slurm import check_launcher
from lenet_pl.sweep import RECORD, begin_sweep, close_sweep, do_job
from lenet_pl.text import prepare_output

AnySettings = TypeVar("AnySettings", bound=Settings)
OPTIONAL_GROUPS = ("experiment", "debug")


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
        given = HydraConfig.get()
        folder, sweep, overrides = Path(given.runtime.output_dir), given.mode == RunMode.MULTIRUN, given.overrides.task

        def settle() -> AnySettings | None:
            settings = to_settings(kind, config)
            if prepare:
                return prepare(settings, folder, overrides, sweep)
            if not issubclass(kind, TrainedSettings):  # those verbs make their folder later, beside the run
                refuse_used_folder(folder)
            return settings

        if sweep and prepare:
            launcher = str(given.runtime.choices.get("hydra/launcher"))
            do_job(name, given.job.num, overrides, folder, settle, work, launcher)
            return
        try:
            if (settings := settle()) is not None:
                work(settings, folder)
        except Exception as error:
            if sweep:
                error.add_note(f"job {given.job.num} ({' '.join(overrides)})")
            failures.append(_complain(error, name, started))
            if folder.resolve() != Path.cwd():
                remove_empty(folder)

    prepare_output()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands over its errors in place of printing several lines
    jobs: Path | None = None
    try:
        multirun = refuse_arguments()
        check_launcher(sys.argv, multirun)
        if multirun and prepare:
            jobs = begin_sweep(sys.argv)
        hydra.main(config_path=str(conf_dir()), config_name=name, version_base="1.3")(job)()
    except (KeyboardInterrupt, SystemExit, Interruption) as stop:
        failures.append(_interrupted(stop, name))
    except Exception as error:
        failures.append(_complain(error, name, started))
    if jobs:
        failures.append(close_sweep(jobs))
    if any(failures):
        sys.exit(max(failures))


def remove_empty(folder: Path) -> None:
    """Remove the folder that Hydra made for a refused run, and empty ones above it; what holds files stays."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the folder is not below this one
        folder.rmdir()
        for parent in folder.relative_to(Path.cwd()).parents[:-1]:
            parent.rmdir()


def refuse_arguments() -> bool:
    """Raise SettingError for command lines that make Hydra print more than a line, or train something else.

    Returns:
        Whether a sweep is asked for.
    """
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
        elif choice and (conf_dir() / (name := group.lstrip("+~"))).is_dir():
            choices = choices_of(conf_dir() / name)
            wanted = _choices_named(override, choices)
            if not wanted:
                raise SettingError(f"{name}: got {printable(choice)}; accepted is {', '.join(choices)}")
            sys.argv[sys.argv.index(override)] = f"{group}={wanted}"
    return bool(known.multirun)


def _choices_named(override: str, choices: list[str]) -> str:
    """Write what stands for a group as Hydra takes it, with a glob spelt out; empty if it can be no choice's name."""
    given = override.partition("=")[2]
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return given  # what cannot be read, Hydra tells
    if isinstance(value, Glob):  # Hydra's own finds none in folders below the group's, and takes none for nothing to do
        return ",".join(str(choice) for choice in value.filter(choices))
    return given if all(isinstance(one, str | list | QuotedString) for one in getattr(value, "list", [value])) else ""


def refuse_used_folder(folder: Path) -> None:
    """Raise SettingError if anything is in the folder already."""
    if {os.environ.get(rank, "0") for rank in ("LOCAL_RANK", "SLURM_PROCID")} != {"0"}:
        return  # one of several processes of a run that the first one has begun
    if (folder / "config.yaml").exists():
        raise SettingError(f"run: {folder} holds a run already; accepted is a new or an empty folder")
    if {path.name for path in folder.iterdir()} - {RECORD, ".lock"}:
        raise SettingError(f"run: {folder} is not empty; accepted is a new or an empty folder")


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
    if os.environ.get("LOCAL_RANK", "0") == "0":
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
    print(f"error: {printable(where + line)}", file=sys.stderr)
    return exit_code(error)
