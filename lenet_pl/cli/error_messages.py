"""One-line messages and exit codes of all errors that can reach a user."""

import re
from collections.abc import Iterator

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from lenet_pl.config_files.groups import choices, groups_of, is_group
from lenet_pl.errors import SettingError, UserError, did_you_mean, printable
from lenet_pl.plugins.kinds import KINDS
from lenet_pl.plugins.loading import line_in_plugin
from lenet_pl.runtime import slurm
from lenet_pl.settings import nearest_key
from lenet_pl.settings.compose import known_keys
from lenet_pl.settings.old_names import CHOICES, SEARCH
from lenet_pl.settings.parts import choices_with_key
from lenet_pl.settings.renamed import new_key
from lenet_pl.settings.synonyms import known_elsewhere

OPEN = ("search.space", "filter", "hydra")  # keys that accept additional keys


def format_error(error: BaseException, name: str) -> str:
    """Describe an error in one line: the setting or file, the value received, and the values allowed.

    Args:
        error: The error that was raised.
        name: Name of the command.
    """
    for cause in _causes(error):
        if isinstance(cause, UserError):  # raised while Hydra called this package
            return str(cause)
    if line := slurm.format_error(error):
        return line
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _no_such_choice(str(error.missing_cfg_file), list(error.options))
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _of_hydra(error, name)
    text = " ".join(str(error).split())
    if folder := _folder_of_choices(error, text):
        return f"hydra.searchpath: {folder} does not exist; must be existing folders, as in [file://<folder>]"
    if isinstance(error, yaml.YAMLError):
        return f"configuration file: {text}"
    said = f"{type(error).__name__}: {text or 'no message'}"
    if where := line_in_plugin(error):
        return f"plugins: {where} raised {said}; use traceback=true to see how it was called"
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    return f"unexpected {said}; use traceback=true to see where it was raised"


def exit_code(error: Exception) -> int:
    """Return the exit code of an error: 2 for an invalid setting, 1 for any other error."""
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return cause.exit_code
    invalid = isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError)
    return SettingError.exit_code if invalid or _folder_of_choices(error, str(error)) else 1


def _folder_of_choices(error: BaseException, text: str) -> str:
    """Return the missing folder of hydra.searchpath, of which Hydra only warns."""
    missing = re.match(r"provider=hydra\.searchpath.*?, path=(.*) is not available", text)
    return missing[1] if missing and isinstance(error, UserWarning) else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and, for errors of Hydra and OmegaConf, the errors that caused it."""
    while error is not None:
        yield error
        # OmegaConf removes the cause and keeps the context
        foreign = isinstance(error, HydraException | OmegaConfBaseException)
        error = (error.__cause__ or error.__context__) if foreign else None


def _no_such_choice(missing: str, options: list[str]) -> str:
    group, _, choice = missing.rpartition("/")
    if not group.startswith("hydra"):  # our choices may be in a subfolder of their group
        group, _, choice = missing.partition("/")
        options = sorted({*options, *choices(group)}) if is_group(group) else options
    near = did_you_mean(choice, options)
    listed = f"{near + ' ' if near else ''}must be one of {', '.join(options)}"
    return f"{group}={choice}: no such {group}; {listed}{'' if near else _of_plugin(group)}"


def _of_plugin(group: str) -> str:
    """Say how a choice of a plug-in is found, for the groups that plug-ins extend."""
    extended = group in {kind.group for kind in KINDS.values()}
    return ", or of a plug-in that plugins=[<module>] loads" if extended else ""


def _unreadable(override: str) -> str:
    """Show how to quote a value, for Hydra and for the shell."""
    key, _, value = override.partition("=")
    if not value:
        return f"{printable(key)}: cannot be parsed; must be key=value, see --help"
    shown, whole = printable(value), printable(value).replace("'", "\\'")
    quoted = f"\"{printable(key)}='{whole}'\""
    return f"{printable(key)}: got {shown}, which cannot be parsed; must be quoted, as in {quoted}"


def _of_hydra(error: HydraException | OmegaConfBaseException, name: str) -> str:
    text = " ".join(str(error).split())
    for cause in _causes(error):
        if isinstance(cause, InterpolationResolutionError):
            return _unresolved(cause)
    if old := re.match(r"In '(.+?)': Could not load '(.+?)/([^/']+)'", text):
        new = CHOICES.get(old[2], {}).get(old[3])
        must = f"it is now called {new}" if new else f"must be one of {', '.join(choices(old[2]))}{_of_plugin(old[2])}"
        return f"{old[1]}: got {old[2]}={old[3]} in its defaults; {must}"
    if other := re.match(r"Could not delete from config\. The value of '(.+?)' is (.*) and not (.*)\.$", text):
        return f"~{other[1]}={other[3]}: the value is {other[2]}; settings cannot be deleted, use {other[1]}={other[3]}"
    if missing := re.match(r"Could not delete '([^']+)'\. No match", text):
        return f"~{missing[1]}: not a chosen group; must be a group that is chosen, or be left out"
    if path := re.match(r"hydra\.searchpath must be a list of strings\. Got: (.*)", text):
        return f"hydra.searchpath: got {path[1]}; must be a list of folders, as in [file://<folder>]"
    if wrong := re.match(r"Could not (?:override|delete from config)[. ].*?'([^']+)'", text):
        deepest = str(getattr(error.__cause__, "full_key", None) or wrong[1])
        return unknown_setting(name, wrong[1], deepest if deepest.startswith(wrong[1]) else wrong[1])
    if several := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '([^=]+)=(.*?)' (?:requires|1\.)", text):
        key, values = several[1].lstrip("+"), several[2]
        line = (
            f"{key}: got several values, {values}; must be one, or use -m (--multirun) before the settings to run each"
        )
        return line if is_group(key) else f"{line}, [{values}] for a list, \"{key}='{values}'\" for a text"
    if merged := re.match(r"Error merging override (\S+)", text):
        key, _, value = merged[1].partition("=")
        return f"{key.lstrip('+~')}: got {value or 'nothing'}, which has the wrong type; see --help"
    if appended := re.match(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"+{appended[1]}: already exists; use {appended[1]}=... without the +"
    return text


def _unresolved(error: InterpolationResolutionError) -> str:
    """Describe the ${...} that cannot be resolved."""
    text = " ".join(str(error.msg or error).split())
    received, instead = "a ${...} without a value", "must be a value, or ${...} with the key of another setting"
    if missing := re.match(r"Interpolation key '(.+?)' not found", text):
        if old := next((old for old, new in SEARCH.items() if new == missing[1]), ""):  # of a space of the user's own
            return f"{missing[1]}: no value given; a value is required (before, it was called {old})"
        received = f"${{{missing[1]}}}, but there is no setting {missing[1]}"
    elif variable := re.search(r"Environment variable '(.+?)' not found", text):
        received = f"${{oc.env:{variable[1]}}}, but the environment variable {variable[1]} is not set"
    elif resolver := re.match(r"Unsupported interpolation type (\S+)", text):
        received = f"${{{resolver[1]}:...}}, but there is no resolver {resolver[1]}"
    return f"{error.full_key}: got {received}; {instead}"


def unknown_setting(command: str, key: str, deepest: str) -> str:
    """Describe what is wrong with a key that the configuration does not have.

    Args:
        command: Name of the command.
        key: The key received.
        deepest: The unknown key, which is longer than `key` if a dictionary was received.
    """
    group, _, subkey = key.partition(".")
    if deepest != key and key.startswith(OPEN):
        return f"{key}: no such key in it; use +{key}.<key>=... to add one"
    if deepest == key and subkey and group in groups_of(command) and (having := choices_with_key(group, subkey)):
        others = " or ".join(", ".join(f"{group}={choice}" for choice in having).rsplit(", ", 1))
        return f"{key}: not a setting of the chosen {group}; use {others}"
    if new := new_key(command, deepest):
        return f"{deepest}: it is now called {new}"
    keys, parent = known_keys(command), deepest.rpartition(".")[0]
    meant = known_elsewhere(command, deepest) or nearest_key(deepest, keys)
    inside = [one for one in keys if one.startswith(f"{parent}.") and "." not in one.removeprefix(f"{parent}.")]
    if inside and meant in ("", f"did you mean {parent}?"):
        meant = f"must be one of {', '.join(inside)}"
    return f"{deepest}: unknown setting; {meant or 'see --help for all settings'}"
