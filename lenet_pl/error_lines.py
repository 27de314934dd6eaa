"""One line and an exit code for each error that can reach a user."""

import re
from collections.abc import Iterator

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from lenet_pl import slurm
from lenet_pl.composition import conf_dir, known_keys
from lenet_pl.errors import SettingError, UserError, did_you_mean, printable
from lenet_pl.settings import nearest_key
from lenet_pl.settings.help_page import choices_of, choices_with
from lenet_pl.settings.other_names import known_elsewhere

OPEN = ("search.space", "where", "hydra")  # to these, parts can be added


def explain(error: BaseException, name: str) -> str:
    """Say in one line which setting or file is wrong, what came, and what is accepted."""
    for cause in _causes(error):
        if isinstance(cause, UserError):  # of ours, raised while Hydra was at work
            return str(cause)
    if line := slurm.explain(error):
        return line
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _no_such_choice(str(error.missing_cfg_file), list(error.options))
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _of_hydra(error, name)
    text = " ".join(str(error).split())
    if folder := _folder_of_choices(error, text):
        return f"hydra.searchpath: {folder} does not exist; must be folders that do, as in [file://<folder>]"
    if isinstance(error, yaml.YAMLError):
        return f"configuration file: {text}"
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    return f"unexpected {type(error).__name__}: {text or 'no message'}; traceback=true shows where it arose"


def exit_code(error: Exception) -> int:
    """Tell mistakes in settings, 2, from the rest, 1."""
    for cause in _causes(error):
        if isinstance(cause, UserError):
            return cause.exit_code
    mistake = isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError)
    return SettingError.exit_code if mistake or _folder_of_choices(error, str(error)) else 1


def _folder_of_choices(error: BaseException, text: str) -> str:
    """Name the folder of hydra.searchpath that does not exist, of which Hydra only warns."""
    missing = re.match(r"provider=hydra\.searchpath.*?, path=(.*) is not available", text)
    return missing[1] if missing and isinstance(error, UserWarning) else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what Hydra and OmegaConf raised it from; an error of ours has said all there is to say."""
    while error is not None:
        yield error
        # OmegaConf takes the cause away and leaves the context
        foreign = isinstance(error, HydraException | OmegaConfBaseException)
        error = (error.__cause__ or error.__context__) if foreign else None


def _no_such_choice(missing: str, options: list[str]) -> str:
    group, _, choice = missing.rpartition("/")
    if not group.startswith("hydra"):  # a choice of ours may lie in a folder below its group's
        group, _, choice = missing.partition("/")
        options = choices_of(conf_dir() / group)
    near = did_you_mean(choice, options)
    return f"{group}={choice}: no such {group}; {near + ' ' if near else ''}accepted: {', '.join(options)}"


def _unreadable(override: str) -> str:
    """Show how a value is quoted: for Hydra inside, for the shell around it."""
    key, _, value = override.partition("=")
    if not value:
        return f"{printable(key)}: cannot be read as a setting; settings are written key=value, see --help"
    shown, whole = printable(value), printable(value).replace("'", "\\'")
    quoted = f"\"{printable(key)}='{whole}'\""
    return f"{printable(key)}: cannot read {shown}; a value with spaces or special characters is written {quoted}"


def _of_hydra(error: HydraException | OmegaConfBaseException, name: str) -> str:
    text = " ".join(str(error).split())
    for cause in _causes(error):
        if isinstance(cause, InterpolationResolutionError):
            return _unresolved(cause)
    if other := re.match(r"Could not delete from config\. The value of '(.+?)' is (.*) and not (.*)\.$", text):
        return f"~{other[1]}={other[3]}: the value is {other[2]}; settings are not deleted, write {other[1]}={other[3]}"
    if absent := re.match(r"Could not delete '([^']+)'\. No match", text):
        return f"~{absent[1]}: is not chosen; must be the choice of another group, or be left out"
    if path := re.match(r"hydra\.searchpath must be a list of strings\. Got: (.*)", text):
        return f"hydra.searchpath: got {path[1]}; must be a list of folders, as in [file://<folder>]"
    if wrong := re.match(r"Could not (?:override|delete from config)[. ].*?'([^']+)'", text):
        deepest = str(getattr(error.__cause__, "full_key", None) or wrong[1])
        return unknown_setting(name, wrong[1], deepest if deepest.startswith(wrong[1]) else wrong[1])
    if several := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '([^=]+)=(.*?)' (?:requires|1\.)", text):
        key, values = several[1].lstrip("+"), several[2]
        line = f"{key}: got {values}, several values; must be one; -m (--multirun) before the settings runs each"
        return line if (conf_dir() / key).is_dir() else f"{line}, [{values}] is a list, \"{key}='{values}'\" a text"
    if merged := re.match(r"Error merging override (\S+)", text):
        key, _, value = merged[1].partition("=")
        return f"{key.lstrip('+~')}: got {value or 'nothing'}, which does not fit there; see --help for what is there"
    if appended := re.match(r"Could not append to config\. An item is already at '([^']+)'", text):
        return f"+{appended[1]}: exists already; write {appended[1]}=... without the +"
    return text


def _unresolved(error: InterpolationResolutionError) -> str:
    """Name what a ${...} refers to."""
    text = " ".join(str(error.msg or error).split())
    came, instead = "a ${...} that has no value", "must be a value, or ${...} with the key of another setting"
    if missing := re.match(r"Interpolation key '(.+?)' not found", text):
        came = f"${{{missing[1]}}}, and there is no setting {missing[1]}"
    elif variable := re.search(r"Environment variable '(.+?)' not found", text):
        came = f"${{oc.env:{variable[1]}}}, and no environment variable {variable[1]} is set"
    elif kind := re.match(r"Unsupported interpolation type (\S+)", text):
        came = f"${{{kind[1]}:...}}, and there is no function {kind[1]}"
    return f"{error.full_key}: got {came}; {instead}"


def unknown_setting(command: str, key: str, deepest: str) -> str:
    """Say what is wrong with a key that the configuration does not have.

    Args:
        command: whose configuration it is.
        key: what came.
        deepest: the part of it that is missing; longer than `key` if that came with a dictionary.
    """
    group, _, part = key.partition(".")
    if deepest != key and key.startswith(OPEN):
        return f"{key}: has no such part; one is added with +{key}.<key>=..."
    if deepest == key and part and (conf_dir() / group).is_dir() and (having := choices_with(conf_dir() / group, part)):
        choices = " or ".join(f"{group}={choice}" for choice in having)
        return f"{key}: not a setting of the {group} that is chosen; {choices} has it"
    keys, parent = known_keys(command), deepest.rpartition(".")[0]
    meant = known_elsewhere(command, deepest) or nearest_key(deepest, keys)
    inside = [one for one in keys if one.startswith(f"{parent}.") and "." not in one.removeprefix(f"{parent}.")]
    if inside and meant in ("", f"did you mean {parent}?"):
        meant = f"must be one of {', '.join(inside)}"
    return f"{deepest}: unknown setting; {meant or 'see --help for what there is'}"
