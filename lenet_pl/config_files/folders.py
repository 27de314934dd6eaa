"""The folders of configuration files: that of lenet_pl, and the user's own.

Read without Hydra and without the settings, because tab completion has no time to import them.
"""

import filecmp
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lenet_pl.errors import SettingError, did_you_mean, display_path, printable

FLAG = "--config-dir"  # Hydra's own
CONF_ENV = "LENET_PL_CONF"
TABLE = ("config_dir", "plugins")  # keys of [tool.lenet_pl] in pyproject.toml; `plugins` is not read here
WHAT = "must be a folder with the folders of groups, such as model or experiment"
_own: tuple[Path, ...] = ()


def conf_dir() -> Path:
    """Return the configuration folder of lenet_pl: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def commands() -> list[str]:
    """List the commands that have a configuration file, `train` first."""
    names = (file.stem for file in conf_dir().glob("*.yaml") if not file.stem.startswith("_"))
    return sorted(names, key=lambda name: (name != "train", name))


def folders() -> tuple[Path, ...]:
    """Return the folders in which configurations are looked up, that of lenet_pl first."""
    return (conf_dir(), *_own)


def use(*own: Path) -> None:
    """Replace the user's own folders, in which choices are looked up for lists and error messages."""
    global _own
    _own = own


def own_sources(sources: Iterable[Any]) -> list[Path]:
    """List the user's own folders among the sources of a configuration, `hydra.runtime.config_sources`."""
    return [Path(one.path) for one in sources if one.schema == "file" and one.provider != "main"]


def config_dir_option() -> list[str]:
    """Return the option with which a command finds the user's own folders. Empty if there are none."""
    return [f"{FLAG}={display_path(_own[0])}"] if _own else []


def own_folder(flag: str | None = None) -> Path | None:
    """Find the user's own configuration folder: that of the flag, else of the variable, else of pyproject.toml.

    Args:
        flag: The value of `--config-dir`.

    Returns:
        The folder. None if the user has not chosen any.

    Raises:
        SettingError: The folder does not exist or cannot be used, or pyproject.toml is invalid.
    """
    if flag is not None:
        return _checked(FLAG, flag, Path())
    if variable := os.environ.get(CONF_ENV):
        return _checked(CONF_ENV, variable, Path())
    if file := find_pyproject(Path.cwd()):
        given = read_table(file).get("config_dir")
        key = f"{display_path(file)}: tool.lenet_pl.config_dir"
        if given is not None and not isinstance(given, str):
            raise SettingError(f"{key}: got {given!r}; must be the path of a folder in quotes")
        start = Path() if file.parent == Path.cwd() else file.parent
        return None if given is None else _checked(key, given, start)
    return None


def find_pyproject(start: Path) -> Path | None:
    """Find the nearest pyproject.toml with a table [tool.lenet_pl], in a folder or its parents.

    A file inside a run folder does not count, because the run may come from somebody else.
    """
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and not _is_run_folder(folder):
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if "tool.lenet_pl" in text and _is_ours(text):
                return file
    return None


def read_table(file: Path) -> Mapping[str, Any]:
    """Read the table [tool.lenet_pl] of a pyproject.toml.

    Raises:
        SettingError: The file is not valid TOML, or the table has an unknown key.
    """
    where = display_path(file)
    try:
        table: Any = tomllib.loads(file.read_text(encoding="utf-8"))["tool"]["lenet_pl"]
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{where}: not valid TOML: {printable(str(error))}") from None
    if not isinstance(table, dict):
        raise SettingError(f"{where}: tool.lenet_pl: got {table!r}; must be a table")
    for key in table:
        if key not in TABLE:
            near = did_you_mean(key, TABLE) or f"must be one of {', '.join(TABLE)}"
            raise SettingError(f"{where}: tool.lenet_pl.{printable(key)}: unknown setting; {near}")
    return table


def _is_ours(text: str) -> bool:
    """Whether TOML has the table, or is invalid, which `read_table` reports."""
    try:
        return "lenet_pl" in tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError:
        return True


def _is_run_folder(folder: Path) -> bool:
    made = ("results.json", "checkpoints")
    return (folder / "config.yaml").is_file() and any((folder / name).exists() for name in made)


def _checked(key: str, given: str, start: Path) -> Path:
    """Check a folder of the user, relative to `start`."""
    shown = printable(given) or repr(given)
    folder = start / Path(os.path.expanduser(given))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if not given or not folder.is_dir():
        problem = "which is not a folder" if given and folder.exists() else "which does not exist"
        raise SettingError(f"{key}: got {shown}{', ' + problem if given else ''}; {WHAT}")
    ours = conf_dir()
    if folder.resolve() == ours.resolve():
        return folder
    for file in sorted(path.relative_to(ours) for path in ours.rglob("*.yaml")):
        # Hydra would use the file of lenet_pl without a word
        if (folder / file).is_file() and not filecmp.cmp(folder / file, ours / file, shallow=False):
            other = file.with_name(f"my_{file.name}")
            raise SettingError(
                f"{key}: {display_path(folder / file)} has the name of a file of lenet_pl, which Hydra would use "
                f"instead; rename it, for instance to {other}"
            )
    if any(folder.glob("*.yaml")) and not any(path.is_dir() for path in folder.iterdir()):
        one = (ours / folder.resolve().name).is_dir()
        raise SettingError(
            f"{key}: got {shown}, which {'is the folder of one group' if one else 'has no folder of a group'}; {WHAT}"
        )
    return folder
