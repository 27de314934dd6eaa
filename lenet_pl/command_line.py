"""The words of a command line, before Hydra reads them: what would be dropped, or answered at length, is refused.

Hydra lets the last of two values win, takes a word without `=` for a mistake in quoting, answers a wrong option with
its usage, and a glob that matches nothing with nothing.
"""

import argparse
import sys

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, QuotedString
from hydra.errors import HydraException

import lenet_pl
from lenet_pl.bare_words import hint, meant_by_option, refuse_spaces
from lenet_pl.composition import conf_dir, known_keys
from lenet_pl.error_lines import OPEN, unknown_setting
from lenet_pl.errors import SettingError, printable
from lenet_pl.recorded_words import data_of_run
from lenet_pl.settings.help_page import choices_of, choices_with, groups_of, parents_of

OPTIONAL_GROUPS = ("experiment", "debug")
NOT_TAKEN = ("config_path", "config_dir", "config_name", "experimental_rerun")  # the last unpickles a file
ELSEWHERE = {  # keys of Hydra's that would move what is done, or do something else
    "hydra.job.chdir": "paths are meant from where the command is started; leave it out",
    "hydra.mode": "-m before the settings runs every combination",
}
OF_CHILDREN = ("hydra.run.dir", "hydra.job.name", "hydra.output_subdir")  # Lightning appends them for further processes
LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")  # those of plugins, which a single run would not start
NO_FOLDER = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")


def refuse_arguments(name: str) -> bool:
    """Check the command line, and write in it what Hydra would not take; `--version` is answered here.

    Args:
        name: of the command.

    Returns:
        Whether a sweep is asked for.

    Raises:
        SettingError: it cannot be used.
    """
    if "--version" in sys.argv[1:]:
        print(f"lenet_pl {lenet_pl.__version__}")
        sys.exit(0)
    known = _parse(name)
    refuse_spaces(known.overrides)
    given: dict[str, str] = {}
    for override in known.overrides:
        key, equals, value = override.partition("=")
        if not key:
            raise SettingError(
                f"{override or repr(override)}: no setting named; settings are written key=value, see --help"
            )
        if not equals and not key.startswith("~"):
            raise SettingError(f"{printable(key)}: got no value; {hint(name, key, known.overrides)}")
        if value.startswith("="):
            raise SettingError(
                f"{key}: got {printable(value)}; must be one =, as in {key}={printable(value.lstrip('='))}"
            )
        plain = key.lstrip("+")
        if given.get(plain, override) != override and plain not in OF_CHILDREN:  # the same again drops nothing
            raise SettingError(f"{plain}: given twice, {given[plain]} and {override}; must be given once")
        given[plain] = override
        _refuse_hydras(name, plain, value, bool(known.multirun))
        if equals:
            _settle_choice(name, override)
        if key.startswith("+"):
            _refuse_unknown(name, plain)
    if name == "train" and not known.multirun:
        sys.argv += data_of_run(given)
    return bool(known.multirun)


def _parse(name: str) -> argparse.Namespace:
    """Read options as Hydra does, without its usage."""
    parser = get_args_parser()
    parser.exit_on_error, parser.allow_abbrev = False, False
    for word in sys.argv[1:]:
        if word.startswith("--") and "=" in word and word.partition("=")[0] not in _options_with_values():
            raise SettingError(f"{printable(word)}: no such option; {meant_by_option(name, word)}")
    try:
        known, unknown = parser.parse_known_args()
    except argparse.ArgumentError as error:
        option = str(error.argument_name).partition("/")[0]
        raise SettingError(f"{option}: {' '.join(error.message.split())}; see --hydra-help") from None
    if unknown and unknown[0].startswith("-"):
        following = next(iter(sys.argv[sys.argv.index(unknown[0]) + 1 :]), "")
        word = unknown[0] if following.startswith("-") or "=" in following else f"{unknown[0]}={following}"
        raise SettingError(f"{printable(unknown[0])}: no such option; {meant_by_option(name, word)}")
    if unknown:
        raise SettingError(f"{printable(unknown[0])}: out of place; options such as -m stand before all settings")
    for option in NOT_TAKEN:
        if value := getattr(known, option):
            raise SettingError(f"--{option.replace('_', '-')}: got {value}; not taken, settings are written key=value")
    if known.resolve and not known.cfg and not known.help:
        raise SettingError("--resolve: got no --cfg; must be beside --cfg job, which shows the settings")
    if sum(map(bool, (known.run, known.multirun, known.cfg, known.info, known.shell_completion))) > 1:
        raise SettingError("--multirun, --run, --cfg, --info, --shell-completion: got several; must be one of them")
    return known


def _options_with_values() -> tuple[str, ...]:
    return ("--cfg", "--package", "--info", *(f"--{option.replace('_', '-')}" for option in NOT_TAKEN))


def _refuse_unknown(name: str, key: str) -> None:
    """Refuse to add what no choice of a group has; Hydra would, and the settings' classes cannot say what was meant."""
    group, _, part = key.partition(".")
    known = key in known_keys(name) or key.startswith(OPEN) or (conf_dir() / key).is_dir()
    if not known and not ((conf_dir() / group).is_dir() and choices_with(conf_dir() / group, part)):
        raise SettingError(unknown_setting(name, key, key))


def _refuse_hydras(name: str, key: str, value: str, multirun: bool) -> None:
    """Refuse keys of Hydra's by which a command would do something else than it says."""
    if instead := ELSEWHERE.get(key):
        raise SettingError(f"{key}: got {printable(value)}; {instead}")
    if key == "hydra/launcher" and value in LAUNCHERS and not multirun:
        raise SettingError(f"{key}: got {printable(value)}, which only sweeps use; write -m before the settings")
    if key in NO_FOLDER and "trained" in parents_of(conf_dir(), name):
        raise SettingError(f"{key}: got {printable(value)}, where this command writes nothing; write out=<folder>")
    if (
        key == "hydra.output_subdir"
        and value.strip("'\"") not in ("null", "")
        and not _is_hidden_name(value.strip("'\""))
    ):
        raise SettingError(
            f"{key}: got {printable(value)}; must be null or a name that begins with a dot, such as .hydra"
        )


def _is_hidden_name(name: str) -> bool:
    return name.startswith(".") and bool(name.strip(".")) and not {"/", "\\"} & set(name) and name != ".lock"


def _settle_choice(command: str, override: str) -> None:
    """Check the choice of a group; spell globs out, and drop the null that Hydra takes only as a default."""
    group, _, choice = override.partition("=")
    name = group.lstrip("+~")
    if choice == "null" and group in OPTIONAL_GROUPS:
        sys.argv.remove(override)
    elif (conf_dir() / name).is_dir():
        choices = choices_of(conf_dir() / name)
        wanted = _choices_named(override, choices) if choice else ""
        if not wanted:
            raise SettingError(f"{name}: got {printable(choice) or repr(choice)}; accepted is {', '.join(choices)}")
        if group.startswith("+") and name in groups_of(conf_dir(), command):
            raise SettingError(f"{group}: exists already; write {name}={choice} without the +")
        sys.argv[sys.argv.index(override)] = f"{group}={wanted}"


def _choices_named(override: str, choices: list[str]) -> str:
    """Write what stands for a group as Hydra takes it, with a glob spelt out; empty if it can be no choice's name."""
    given = override.partition("=")[2]
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return given  # what cannot be read, Hydra tells
    if isinstance(value, Glob):  # Hydra's own finds none in folders below the group's, and takes none for nothing to do
        return ",".join(str(choice) for choice in value.filter(choices))
    return given if all(map(_may_be_chosen, getattr(value, "list", [value]))) else ""


def _may_be_chosen(value: object) -> bool:
    """Whether a value can stand for a choice of a group: a name, or a list of names."""
    return all(isinstance(one, str | QuotedString) for one in (value if isinstance(value, list) else [value]))
