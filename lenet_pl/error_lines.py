"""One line and an exit code for each error that can reach a user."""

import re

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from lenet_pl import slurm
from lenet_pl.composition import conf_dir, known_keys
from lenet_pl.errors import SettingError, UserError, did_you_mean
from lenet_pl.settings import nearest_key
from lenet_pl.settings.help_page import choices_of


def explain(error: BaseException, name: str) -> str:
    """Say in one line which setting or file is wrong, what came, and what is accepted."""
    if isinstance(error, UserError):
        return str(error)
    if line := slurm.explain(error):
        return line
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        options = error.options
        if not group.startswith("hydra"):  # a choice of ours may lie in a folder below its group's
            group, _, choice = str(error.missing_cfg_file).partition("/")
            options = choices_of(conf_dir() / group)
        near = did_you_mean(choice, options)
        return f"{group}={choice}: no such {group}; {near + ' ' if near else ''}accepted: {', '.join(options)}"
    text = " ".join(str(error).split())
    if wrong := re.match(r"Could not (?:override|delete from config)[. ].*?'([^']+)'", text):
        keys = known_keys(name)
        if wrong[1] in keys and f"full_key: {wrong[1]}\n" in str(error.__cause__):
            group = wrong[1].rpartition(".")[0]
            return f"{wrong[1]}: unknown setting of the {group} that is chosen; another {group} has it"
        if wrong[1] in keys:
            return f"{wrong[1]}: has no such part; one is added with +{wrong[1]}.<key>=..."
        return f"{wrong[1]}: unknown setting; {nearest_key(wrong[1], keys) or 'see --help for what there is'}"
    if merged := re.match(r"Error merging override (\S+)$", text):
        cause = str(error.__cause__ or "does not fit").partition("full_key")[0]  # then OmegaConf's own words
        return f"{merged[1].partition('=')[0]}: {' '.join(cause.split())}"
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


def exit_code(error: Exception) -> int:
    """Tell mistakes in settings, 2, from the rest, 1."""
    if isinstance(error, UserError):
        return error.exit_code
    return SettingError.exit_code if isinstance(error, HydraException | OmegaConfBaseException | yaml.YAMLError) else 1
