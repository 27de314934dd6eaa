"""What can follow on a command line: commands, options, groups and their choices, keys, values, files.

Each press of Tab starts a new process. Hydra and torch are therefore never imported, and the settings only where a
type or a meaning is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from lenet_pl.cli.completion.files import matching_files
from lenet_pl.config_files import folders
from lenet_pl.config_files.groups import choices, file_of, groups_of, is_group
from lenet_pl.config_files.outline import outline
from lenet_pl.errors import SettingError

SHELLS = ("bash", "zsh", "fish")
OPTIONS = {
    "--help": "show the settings of the command",
    "--version": "show the version",
    "--multirun": "run every combination of comma-separated values",
    "--cfg": "show the composed configuration: job, hydra or all",
    "--resolve": "with --cfg: resolve interpolations",
    "--package": "with --cfg: show one group",
    "--info": "show how Hydra composes the configuration",
    "--config-dir": "folder of your own configuration files",
    "--hydra-help": "show the help of Hydra",
}
VALUES = {
    ("--cfg", "-c"): ("job", "hydra", "all"),
    ("--info", "-i"): ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
FOLDER_OPTIONS = ("--config-dir", "-cd")
GROUP_OPTIONS = ("--package", "-p")
OPTIONS_WITH_VALUES = (*FOLDER_OPTIONS, *GROUP_OPTIONS, *(option for options in VALUES for option in options))
SET_BY_CHOICE = ("name", "architecture")  # settings that tell the choices of a group apart
NULLABLE = ("experiment", "debug")
LAUNCHERS = ("basic", "joblib", "slurm")


@dataclass(frozen=True)
class Candidate:
    """A word that completes the one at the cursor.

    Attributes:
        text: The whole word.
        meaning: Its description. Empty if there is none.
        finished: Whether the word is complete; false: more follows, such as a value after `model=`.
    """

    text: str
    meaning: str = ""
    finished: bool = True


def candidates(words: Sequence[str]) -> list[Candidate]:
    """List what the word at the cursor can become.

    Args:
        words: The words after the program, unquoted; the last one, which may be empty, is at the cursor.
    """
    *before, current = words
    found = _after(before[0], before[1:], current) if before else _commands()
    return [one for one in found if one.text.startswith(current)]


def with_meanings(words: Sequence[str], found: Sequence[Candidate]) -> list[Candidate]:
    """Add the meanings of settings, which takes longer than to find their keys."""
    command, before = words[0], words[1:-1]
    keys = {one.text: one.text.lstrip("+~").rstrip("=.") for one in found if not one.finished and not one.meaning}
    if command not in folders.commands() or not keys:
        return list(found)
    from lenet_pl.settings.fields import field_of, settings_class

    kind, tree = settings_class(command), outline(command, _chosen(before))
    fields = {text: field_of(kind, key, tree) for text, key in keys.items()}
    meanings = {text: " ".join((field.description or "").split()) for text, field in fields.items() if field}
    return [replace(one, meaning=one.meaning or meanings.get(one.text, "")) for one in found]


def _chosen(before: Sequence[str]) -> dict[str, str]:
    """Map the groups on a command line to their choices."""
    return {key: value for key, value in _given(before).items() if is_group(key)}


def _given(before: Sequence[str]) -> dict[str, str]:
    return {key.lstrip("+~"): value for key, equals, value in (word.partition("=") for word in before) if equals}


def _commands() -> Iterator[Candidate]:
    from lenet_pl.cli.completion.purposes import purposes

    for name, purpose in purposes().items():
        yield Candidate(name, purpose)
    yield Candidate("completion", "Print the tab completion for a shell")
    yield Candidate("--help", "List the commands")
    yield Candidate("--version", "Show the version")


def _after(command: str, before: Sequence[str], current: str) -> Iterator[Candidate]:
    """Yield what can follow a command."""
    if command == "completion":
        yield from map(Candidate, SHELLS if not before else ())
    if command not in folders.commands():
        return
    last = before[-1] if before else ""
    for options, values in VALUES.items():
        if last in options:
            yield from map(Candidate, values)
            return
    flag, _, folder = current.rpartition("=")
    if last in FOLDER_OPTIONS or flag in FOLDER_OPTIONS:
        prefix = f"{flag}=" if flag in FOLDER_OPTIONS else ""
        yield from _files(prefix, folder if prefix else current, "")
        return
    _use_own_folder(before)
    if current.startswith("-"):
        yield from (Candidate(option, meaning) for option, meaning in OPTIONS.items() if option not in before)
        return
    tree = outline(command, _chosen(before))
    if last in GROUP_OPTIONS:
        yield from (Candidate(key) for key, value in tree.items() if isinstance(value, dict))
        return
    name, equals, value = current.partition("=")
    sign = name[: len(name) - len(name.lstrip("+~"))]
    key = name[len(sign) :]
    if equals:
        yield from _values(command, tree, key, value, f"{name}=")
    else:
        yield from _keys(command, tree, key, sign, _given(before))


def _use_own_folder(before: Sequence[str]) -> None:
    """Find the user's own configuration folder, as the command will."""
    words = [
        word.partition("=")[2] if "=" in word else after
        for word, after in pairwise([*before, ""])
        if word.partition("=")[0] in FOLDER_OPTIONS
    ]
    try:
        own = folders.own_folder(words[-1] if words else None)
    except SettingError:  # the command says what is wrong
        own = None
    folders.use(*([own] if own else []))


def _keys(command: str, tree: Mapping[str, Any], key: str, sign: str, given: Mapping[str, str]) -> Iterator[Candidate]:
    """Yield the keys of one level: groups and settings of the top, or of the group before the last dot."""
    parent, dot, _ = key.rpartition(".")
    if not dot:
        for group in groups_of(command):
            if group not in given:
                yield Candidate(f"{sign}{group}=", f"choose one of {len(choices(group))}", finished=False)
        yield Candidate(f"{sign}hydra/launcher=", "where the jobs of a sweep run", finished=False)
    level: Any = tree
    for name in parent.split(".") if dot else ():
        level = level.get(name) if isinstance(level, dict) else None
    for name, value in level.items() if isinstance(level, dict) else ():
        whole = f"{parent}{dot}{name}"
        if isinstance(value, dict):
            yield Candidate(f"{sign}{whole}.", finished=False)
        elif whole not in given and not (name in SET_BY_CHOICE and is_group(parent)):
            yield Candidate(f"{sign}{whole}=", finished=False)


def _values(command: str, tree: Mapping[str, Any], key: str, value: str, prefix: str) -> Iterator[Candidate]:
    """Yield values of a setting, or of the last item in a list or a sweep."""
    start = max(value.rfind("["), value.rfind(",")) + 1
    prefix, item, is_list = f"{prefix}{value[:start]}", value[start:], value.startswith("[")
    if key == "hydra/launcher":
        yield from (Candidate(f"{prefix}{name}") for name in LAUNCHERS)
    elif is_group(key):
        for name in choices(key):
            yield Candidate(f"{prefix}{name}", _first_comment(f"{key}/{name}"), finished=not is_list)
        if key in NULLABLE and not start:
            yield Candidate(f"{prefix}null", "none")
    else:
        from lenet_pl.settings.fields import field_of, is_path, settings_class, values_of_field

        field = field_of(settings_class(command), key, tree)
        if field and is_path(field):
            yield from _files(prefix, item, key, finished=not is_list)
        elif field:
            yield from (Candidate(f"{prefix}{one}", finished=not is_list) for one in values_of_field(field))


def _files(prefix: str, path: str, key: str, *, finished: bool = True) -> Iterator[Candidate]:
    for one, complete in matching_files(path, key):
        yield Candidate(f"{prefix}{one}", finished=complete and finished)


def _first_comment(name: str) -> str:
    """Return the first comment of a configuration file, which says what it is for."""
    file = file_of(name)
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    comments = (line.lstrip("# ") for line in lines[:3] if line.startswith("#") and "@package" not in line)
    return next(comments, "")
