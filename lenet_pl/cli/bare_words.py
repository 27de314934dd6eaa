"""Suggestions for words of the command line that are not key=value."""

import re
from collections.abc import Sequence
from pathlib import Path

from lenet_pl.config_files.folders import commands
from lenet_pl.config_files.groups import choices, groups_of
from lenet_pl.errors import SettingError, did_you_mean, printable
from lenet_pl.settings.compose import known_keys
from lenet_pl.settings.synonyms import known_elsewhere
from lenet_pl.settings.validation import nearest_key

SEE_HELP = "settings are written key=value, see --help"
ONE_FOLDER = (
    "predict",
    "explain",
    "export",
    "diagnose",
    "train",
    "search",
    "benchmark",
)  # others take several


def check_spaces(overrides: Sequence[str]) -> None:
    """Raise SettingError for spaces around =, which split a setting into several words."""
    for before, word, after in zip(["", *overrides], overrides, [*overrides[1:], ""], strict=False):
        if word == "=":
            key, value = before, after
        elif word.startswith("=") and before and "=" not in before:
            key, value = before, word[1:]
        elif word.endswith("=") and word.count("=") == 1 and after and "=" not in after and not after.startswith("~"):
            key, value = word[:-1], after
        else:
            continue
        if key and value and "=" not in key + value:
            raise SettingError(f"{printable(key)}: got spaces around =; must be {printable(key)}={quoted(value)}")


def meant_by_option(command: str, word: str) -> str:
    """Suggest a setting for an unknown option with one or two dashes."""
    key, equals, value = word.lstrip("-").partition("=")
    key = key.replace("-", "_")
    if not key or key.isdigit():
        return SEE_HELP
    if key in known_keys(command) or key in groups_of(command):
        return f"settings are written without dashes, {key}={quoted(value) if equals else '<value>'}"
    return f"{SEE_HELP}{_also(command, key, value) if value else ''}"


def hint(command: str, word: str, overrides: Sequence[str]) -> str:
    """Suggest how to write a word without =.

    Args:
        command: Name of the command.
        word: The first word without =.
        overrides: All words of the command line except options.
    """
    bare = [one for one in overrides if "=" not in one and not one.startswith("~")]
    key, colon, value = word.partition(":")
    if colon and _is_key(command, key) and value:
        return f"must be written with =, {key}={quoted(value)}"
    if _is_key(command, word) and not Path(word).suffix:
        following = bare[1] if len(bare) > 1 and overrides.index(bare[1]) == overrides.index(word) + 1 else ""
        return f"must be written {word}={quoted(following) if following else '<value>'}"
    for group in groups_of(command):
        if word in choices(group):
            return f"must be written with its group, {group}={word}"
    if places := _places(command, bare, overrides):
        return f"must be written {places}"
    if word in (names := commands()):
        return f"for that command, use python -m lenet_pl.{word}" if word != command else SEE_HELP
    following = bare[1] if len(bare) > 1 else ""
    if also := _also(command, word, following):
        return f"{SEE_HELP}{also}"
    groups = {choice: group for group in groups_of(command) for choice in choices(group)}
    near = did_you_mean(word, [*groups, *names])
    found = near.removeprefix("did you mean ").removesuffix("?")
    return f"{SEE_HELP}; did you mean {groups[found]}={found}?" if found in groups else SEE_HELP


def quoted(value: str) -> str:
    """Write a value for Hydra, in quotes if it has spaces or special characters."""
    return value if re.fullmatch(r"[\w/\-\\+.$%*@?|\[\],]+", value, re.ASCII) else f"'{printable(value)}'"


def _is_key(command: str, word: str) -> bool:
    return word in known_keys(command) or word in groups_of(command)


def _also(command: str, key: str, value: str) -> str:
    """Suggest the key that is meant, with the value received. Empty if none is similar."""
    near = known_elsewhere(command, key) or nearest_key(key, known_keys(command))
    if meant := re.fullmatch(r"did you mean (\S+)\?", near):
        return f"; did you mean {meant[1]}={quoted(value)}?" if value else f"; {near}"
    return f"; {near}" if near else ""


def _places(command: str, bare: Sequence[str], overrides: Sequence[str]) -> str:
    """Write files and folders as settings of a command. Empty if the first word is neither."""
    first = Path(bare[0])
    if not first.exists() and not first.suffix and "/" not in bare[0]:
        return ""
    given = {word.partition("=")[0]: word.partition("=")[2] for word in overrides if "=" in word}
    checkpoints = [word for word in bare if word.endswith(".ckpt")]
    folders = [word for word in bare if Path(word).is_dir() or (not Path(word).suffix and not Path(word).exists())]
    files = [word for word in bare if word not in checkpoints and word not in folders]
    if command == "compare":
        return as_setting("runs", [*filter(None, [given.get("runs")]), *bare])
    if command == "inspect":
        return f"data=folder {as_setting('data.path', folders[:1])}" if folders and not files else ""
    if command in ("predict", "explain"):
        taken = folders[:1] if "run" not in given and "ckpt_path" not in given and not checkpoints else []
        images = [
            *filter(None, [given.get("images")]),
            *(word for word in bare if word in files or word in folders[len(taken) :]),
        ]
        settings = [as_setting("run", taken), as_setting("ckpt_path", checkpoints[:1]), as_setting("images", images)]
        return " ".join(filter(None, settings))
    if command in ("train", "search", "benchmark"):
        return (
            "" if files or checkpoints else as_setting("output_dir" if command == "benchmark" else "run", folders[:1])
        )
    if files and not checkpoints:
        return ""
    runs = [*filter(None, [given.get("run")]), *folders]
    return " ".join(
        filter(
            None,
            [
                as_setting("run", runs if command not in ONE_FOLDER else runs[:1]),
                as_setting("ckpt_path", checkpoints[:1]),
            ],
        )
    )


def as_setting(key: str, values: Sequence[str]) -> str:
    """Write a setting with one value or a list, in quotes for the shell if it needs them."""
    if not values:
        return ""
    inside = [one for value in values for one in (value[1:-1].split(",") if value[:1] == "[" else [value])]
    text = f"{key}={quoted(inside[0])}" if len(inside) == 1 else f"{key}=[{','.join(map(quoted, inside))}]"
    return f'"{text}"' if "'" in text else text
