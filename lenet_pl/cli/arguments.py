"""Checks of the command line before Hydra parses it, with a one-line error for each mistake.

Hydra itself silently uses the last of two values and ignores a glob without a match. It takes a word without `=` for a
quoting error, and prints its whole usage for a wrong option.
"""

import argparse
import re
import sys
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, QuotedString
from hydra.errors import HydraException

import lenet_pl
from lenet_pl.cli.bare_words import check_spaces, hint, meant_by_option
from lenet_pl.cli.error_messages import OPEN, unknown_setting
from lenet_pl.cli.group_values import expand_group
from lenet_pl.cli.old_experiments import upgraded_searchpath
from lenet_pl.cli.resume_overrides import data_of_run
from lenet_pl.config_files.folders import FLAG, own_folder, use
from lenet_pl.config_files.groups import choices, groups_of, is_group, parents_of
from lenet_pl.errors import SettingError, printable
from lenet_pl.plugins.kinds import KINDS
from lenet_pl.plugins.loading import load_plugins, named_in
from lenet_pl.settings.compose import help_text, known_keys
from lenet_pl.settings.parts import choices_with_key, is_plugged, offer_choices
from lenet_pl.settings.renamed import explain_renamed
from lenet_pl.settings.types import expand_home

OPTIONAL_GROUPS = ("experiment", "debug")
ONE_CHOICE = {kind.group for kind in KINDS.values() if not kind.listed} | {"augment"}  # each sets everything of a group
NOT_TAKEN = ("config_path", "config_name", "experimental_rerun")  # the last one unpickles a file
ELSEWHERE = {  # Hydra's keys that would change where or how the command runs
    "hydra.job.chdir": "paths are relative to the working directory; leave it out",
    "hydra.mode": "use -m before the settings to run all combinations",
}
OF_CHILDREN = ("hydra.run.dir", "hydra.job.name", "hydra.output_subdir")  # appended by Lightning for further processes
LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")  # of plugins, which a single run would not use
NO_FOLDER = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")


def check_arguments(name: str) -> bool:
    """Check the command line, and replace in sys.argv what Hydra would not accept.

    Args:
        name: Name of the command.

    Returns:
        Whether the command line asks for a sweep.

    Raises:
        SettingError: If the command line is invalid.
        SystemExit: After `--help` and `--version`, with code 0.
    """
    if "--version" in sys.argv[1:]:
        print(f"lenet_pl {lenet_pl.__version__}")
        sys.exit(0)
    known = _parse(name)
    _find_own_folders(known)
    check_spaces(known.overrides)
    load_plugins(named_in(known.overrides))
    offer_choices()
    known.overrides = [word for override in known.overrides for word in expand_group(name, override)]
    given: dict[str, str] = {}
    for override in known.overrides:
        key, equals, value = override.partition("=")
        if not key:
            raise SettingError(f"{override or repr(override)}: got no key; must be key=value, see --help")
        line = explain_renamed(name, printable(override))
        if line and not is_plugged(key.lstrip("+~")):
            raise SettingError(line)
        if not equals and not key.startswith("~"):
            raise SettingError(f"{printable(key)}: got no value; {hint(name, key, known.overrides)}")
        if value.startswith("="):
            raise SettingError(
                f"{key}: got {printable(value)}; must have a single =, as in {key}={printable(value.lstrip('='))}"
            )
        plain = key.lstrip("+")
        if given.get(plain, override) != override and plain not in OF_CHILDREN:  # repeating a value is harmless
            raise SettingError(f"{plain}: got two values, {given[plain]} and {override}; must be given once")
        given[plain] = override
        _check_hydra_key(name, plain, value, bool(known.multirun))
        if equals:
            _resolve_choice(name, override)
        if key.startswith("+"):
            _check_added_key(name, plain)
    if word := upgraded_searchpath(given):
        sys.argv[sys.argv.index(given["hydra.searchpath"])] = word
    if name == "train" and not known.multirun:
        sys.argv += data_of_run(given)
    if known.help:
        print(help_text(name, _parse(name).overrides, known.config_dir))
        sys.exit(0)
    return bool(known.multirun)


def _parse(name: str) -> argparse.Namespace:
    """Parse options as Hydra does, without printing its usage."""
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
        raise SettingError(f"{printable(unknown[0])}: out of place; options such as -m must come before all settings")
    for option in NOT_TAKEN:
        if value := getattr(known, option):
            raise SettingError(
                f"--{option.replace('_', '-')}: got {value}, which is not supported; use settings of the form key=value"
            )
    if known.shell_completion:  # that of Hydra knows neither commands nor `python -m`
        raise SettingError("--shell-completion: not supported; use lenet completion bash, zsh or fish")
    if known.resolve and not known.cfg and not known.help:
        raise SettingError("--resolve: got no --cfg; must be used with --cfg job, which shows the settings")
    if sum(map(bool, (known.run, known.multirun, known.cfg, known.info))) > 1:
        raise SettingError("--multirun, --run, --cfg, --info: got several; must be only one of them")
    return known


def _find_own_folders(known: argparse.Namespace) -> None:
    """Find the user's own configuration folders, and pass the one that no flag gives to Hydra as a flag."""
    own = own_folder(known.config_dir)
    if own and known.config_dir != str(own):
        if known.config_dir is not None:  # Hydra takes ~ literally
            _remove_option(FLAG)
        sys.argv.insert(1, f"{FLAG}={own}")
    word = next((word for word in known.overrides if word.startswith("hydra.searchpath=")), "")
    searched = [Path(expand_home(place)) for place in re.findall(r"file://([^,\]'\"]+)", word)]
    use(*([own] if own else []), *searched)


def _remove_option(option: str) -> None:
    """Remove an option with its value from sys.argv."""
    place = next(k for k, word in enumerate(sys.argv) if word.partition("=")[0] in (option, "-cd"))
    del sys.argv[place : place + (1 if "=" in sys.argv[place] else 2)]


def _options_with_values() -> tuple[str, ...]:
    return ("--cfg", "--package", "--info", FLAG, *(f"--{option.replace('_', '-')}" for option in NOT_TAKEN))


def _check_added_key(name: str, key: str) -> None:
    """Reject a key added with + that no choice of its group has, since Hydra would add it without a suggestion."""
    group, _, subkey = key.partition(".")
    known = key in known_keys(name) or key.startswith(OPEN) or is_group(key)
    if not known and not (is_group(group) and choices_with_key(group, subkey)):
        raise SettingError(unknown_setting(name, key, key))


def _check_hydra_key(name: str, key: str, value: str, multirun: bool) -> None:
    """Reject keys of Hydra that would make the command do something else."""
    if instead := ELSEWHERE.get(key):
        raise SettingError(f"{key}: got {printable(value)}; {instead}")
    if key == "hydra/launcher" and value in LAUNCHERS and not multirun:
        raise SettingError(f"{key}: got {printable(value)}, which only sweeps use; use -m before the settings")
    if key in NO_FOLDER and "_trained" in parents_of(name):
        raise SettingError(f"{key}: got {printable(value)}, where this command writes nothing; use output_dir=<folder>")
    if (
        key == "hydra.output_subdir"
        and value.strip("'\"") not in ("null", "")
        and not _is_hidden_name(value.strip("'\""))
    ):
        raise SettingError(
            f"{key}: got {printable(value)}; must be null or a name that starts with a dot, such as .hydra"
        )


def _is_hidden_name(name: str) -> bool:
    return name.startswith(".") and bool(name.strip(".")) and not {"/", "\\"} & set(name) and name != ".lock"


def _resolve_choice(command: str, override: str) -> None:
    """Check the choice of a group. Expand globs, and remove null, which Hydra accepts only as a default."""
    group, _, choice = override.partition("=")
    name = group.lstrip("+~")
    if choice == "null" and group in OPTIONAL_GROUPS:
        sys.argv.remove(override)
    elif is_group(name):
        there = choices(name)
        chosen = _choices_named(override, there) if choice else ""
        if not chosen:
            raise SettingError(f"{name}: got {printable(choice) or repr(choice)}; must be one of {', '.join(there)}")
        if name in ONE_CHOICE and chosen.startswith("[") and "," in chosen:
            raise SettingError(
                f"{name}: got {printable(chosen)}, of which the last would replace the others; must be one choice; use "
                f"{name}.<setting>=... for what another one has"
            )
        if group.startswith("+") and name in groups_of(command):
            raise SettingError(f"{group}: already exists; use {name}={choice} without the +")
        sys.argv[sys.argv.index(override)] = f"{group}={chosen}"


def _choices_named(override: str, there: list[str]) -> str:
    """Return the choices in an override, with globs expanded. Empty if its value cannot name a choice."""
    given = override.partition("=")[2]
    try:
        value = OverridesParser.create().parse_override(override).value()
    except HydraException:
        return given  # Hydra reports what cannot be parsed
    if isinstance(value, Glob):  # Hydra ignores choices in subfolders, and globs without a match
        return ",".join(str(choice) for choice in value.filter(there))
    return given if all(map(_may_be_chosen, getattr(value, "list", [value]))) else ""


def _may_be_chosen(value: object) -> bool:
    """Whether a value can be a choice of a group: a name, or a list of names."""
    return all(isinstance(one, str | QuotedString) for one in (value if isinstance(value, list) else [value]))
