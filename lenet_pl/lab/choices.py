"""What the page may choose: an allow-list of settings, and their translation to a command line.

A setting of the page is a number, a word, or a list of them. It never becomes a path, an interpolation or the name of a
module, so that a page cannot read or write elsewhere, or make a training run code.
"""

import math
import os
import re
import shlex
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lenet_pl.cli.bare_words import quoted
from lenet_pl.cli.error_messages import format_error
from lenet_pl.data.stored_files import published_datasets, stored_files
from lenet_pl.errors import SettingError, UserError, did_you_mean, printable
from lenet_pl.runtime.startup import as_typed
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.choices import list_choices, read_choice
from lenet_pl.settings.compose import compose
from lenet_pl.settings.fields import field_of, values_of_field
from lenet_pl.settings.lab import LabSettings

GROUPS = ("data", "model", "optimizer", "scheduler", "loss", "augment", "callbacks")
OPEN_GROUPS = ("model", "optimizer", "scheduler", "loss", "augment")  # all of whose settings may be chosen, too
CLOSED = ("name", "architecture")  # but for these
KEYS = ("seed", "loader.batch_size", "trainer.max_epochs", "trainer.gradient_clip_val", "callbacks.ema.decay", "report")
MAX_ENTRIES = 32  # of a list
WORD = re.compile(r"[a-z][a-z0-9_]*(/[a-z]+)?")  # such as lenet5 or val/loss

Chosen = Mapping[str, Any]  # values of a page by dotted key, such as {"model": "lenet5", "optimizer.lr": 0.01}
_composing = threading.Lock()  # Hydra's state is global


def offered_datasets(settings: LabSettings) -> list[str]:
    """List the datasets of the settings that are on this machine."""
    known, root = published_datasets(), Path(settings.data_root)

    def is_here(name: str) -> bool:
        return name not in known or all(one.path for one in stored_files(known[name], root, verify=False))

    return [name for name in settings.datasets if is_here(name)]


def describe_choices(settings: LabSettings) -> dict[str, Any]:
    """Describe the form of the page.

    Returns:
        - `groups`: by group and choice the values of its file
        - `defaults`: the composed values of all settings that can be chosen, nested
        - `values`: the values of each setting that takes one of a few, by dotted key
        - `meanings`: what each setting means, by dotted key
    """
    offered = {group: list_choices(group) for group in GROUPS} | {"data": offered_datasets(settings)}
    defaults = compose_settings(settings, {}).model_dump()
    keys = [*KEYS, *(f"{group}.{key}" for group in OPEN_GROUPS for key in defaults[group] if key not in CLOSED)]
    fields = {key: field for key in keys if (field := field_of(TrainSettings, key, defaults))}
    return {
        "groups": {
            group: {name: read_choice(group, name) if group in OPEN_GROUPS else {} for name in names}
            for group, names in offered.items()
        },
        "defaults": {key: defaults[key] for key in (*OPEN_GROUPS, "data", "loader", "trainer", "seed", "report")},
        "values": {key: values for key, field in fields.items() if (values := values_of_field(field))},
        "meanings": {key: " ".join((field.description or "").split()) for key, field in fields.items()},
    }


def overrides_of(settings: LabSettings, chosen: Chosen) -> list[str]:
    """Translate what a page has chosen to the overrides of a command line, groups first.

    Raises:
        SettingError: A key may not be chosen, or a value is not a number, a word or a list of them.
    """
    groups = [f"{group}={_choice(settings, group, chosen[group])}" for group in GROUPS if group in chosen]
    keys = [f"{key}={_written(key, value)}" for key, value in chosen.items() if _check_key(key) not in GROUPS]
    return [*groups, *keys, *_data_root(settings)]


def compose_settings(settings: LabSettings, chosen: Chosen, run: str = "unused") -> TrainSettings:
    """Compose and validate the settings of a training.

    Args:
        settings: The settings of the lab.
        chosen: What the page has chosen.
        run: The run folder.

    Raises:
        SettingError: A setting is invalid.
    """
    overrides = overrides_of(settings, chosen)
    with _composing:
        try:
            found = compose("train", TrainSettings, [*overrides, "callbacks.progress_bar=false"])
        except UserError:
            raise
        except Exception as error:  # Hydra's own, such as an unknown key
            raise SettingError(format_error(error, "train")) from None
    return found.model_copy(update={"run": run})


def command_line(settings: LabSettings, chosen: Chosen, run: str = "") -> str:
    """Write the command that trains with the same settings."""
    own = [f"run={run}"] if run else []
    return as_typed("python -m lenet_pl.train " + shlex.join([*overrides_of(settings, chosen), *own])).strip()


def key_of(error: Exception) -> str:
    """Return the dotted key at the start of an error line; empty if it names none."""
    found = re.match(r"([a-z_]+(?:\.[a-z_0-9]+)*): ", str(error))
    return found[1] if found else ""


def _data_root(settings: LabSettings) -> list[str]:
    """Return the override of `data_root`, unless it is the default."""
    default = os.environ.get("LENET_PL_DATA", "data")
    return [] if settings.data_root == default else [f"data_root={quoted(settings.data_root)}"]


def _choice(settings: LabSettings, group: str, name: Any) -> str:
    known = offered_datasets(settings) if group == "data" else list_choices(group)
    if name not in known:
        near = did_you_mean(str(name), known)
        why = f"must be one of {', '.join(known)}{near and f'; {near}'}"
        raise SettingError(f"{group}: got {printable(repr(name)[:80])}; {why}")
    return str(name)


def _check_key(key: str) -> str:
    group, _, name = key.partition(".")
    if key not in (*GROUPS, *KEYS) and (group not in OPEN_GROUPS or name in CLOSED or not name.isidentifier()):
        raise SettingError(f"{printable(key[:80])}: cannot be chosen on the page; use the command line")
    return key


def _written(key: str, value: Any, depth: int = 0) -> str:
    """Write a value for Hydra."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    if isinstance(value, str) and WORD.fullmatch(value):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= MAX_ENTRIES and depth < 2:
        return f"[{','.join(_written(key, entry, depth + 1) for entry in value)}]"
    raise SettingError(f"{key}: got {printable(repr(value)[:80])}; must be a number, a word, or a list of them")
