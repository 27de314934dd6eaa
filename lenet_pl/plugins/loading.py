"""Loading of plug-ins: modules whose import registers parts.

Only the user decides what is imported: by the command line, by the variable `LENET_PL_PLUGINS`, or by installing a
package with an entry point. Names in run folders, checkpoints and recipes are only names.
"""

import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from lenet_pl.errors import SettingError, UserError, printable
from lenet_pl.plugins.registry import OWN, STATE

GROUP = "lenet_pl.plugins"  # of the entry points of installed packages
VARIABLE = "LENET_PL_PLUGINS"  # modules, separated by commas; child processes load them too
MODULE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"

_loaded: list[str] = []
_installed: set[str] = set()


def loaded_plugins() -> list[str]:
    """List the modules that were loaded as plug-ins, in their order."""
    return list(_loaded)


def given_plugins() -> list[str]:
    """List the loaded plug-ins that are not those of installed packages, which are loaded in any case."""
    return [name for name in _loaded if name not in _installed]


def load_plugins(names: Iterable[str] = ()) -> list[str]:
    """Import plug-ins: those given, those of `LENET_PL_PLUGINS`, and those of installed packages.

    Each is imported once. Modules are found in the working directory, as by `python -m`, or among the installed ones.
    Child processes load the same ones.

    Args:
        names: Names of modules or packages, such as "my_models".

    Returns:
        All that are loaded.

    Raises:
        SettingError: A name is not that of a module, or its import fails.
    """
    asked = [name for name in os.environ.get(VARIABLE, "").replace(" ", "").split(",") if name]
    for name in dict.fromkeys([*asked, *names]):
        if not re.fullmatch(MODULE, name, re.ASCII) or name.endswith(".py"):
            raise SettingError(
                f"plugins: got {printable(name)!r}; must be names of Python modules, such as my_models for my_models.py"
            )
        if name not in _loaded:
            _find_in_working_directory()
            _import(name)
    if _loaded:
        os.environ[VARIABLE] = ",".join(given_plugins())
    _load_installed()
    return loaded_plugins()


def named_in(overrides: Sequence[str]) -> list[str]:
    """Return the modules in `plugins=[...]` of a command line."""
    values = [word.partition("=")[2] for word in overrides if word.partition("=")[0].lstrip("+") == "plugins"]
    return [name for value in values for name in re.split(r"[\[\],\s'\"]+", value) if name and name != "null"]


def refuse_others(names: Iterable[str]) -> None:
    """Check that the plug-ins in composed settings are loaded, since a configuration file cannot load one.

    Raises:
        SettingError: One is not.
    """
    for name in names:
        if name not in _loaded:
            raise SettingError(
                f"plugins: got {printable(name)} in a configuration file, which loads nothing; must be given on the "
                f"command line, plugins=[...], or in the variable {VARIABLE}"
            )


def missing_plugins(recorded: Any) -> list[str]:
    """List the plug-ins that a run used and that are not loaded. The record is untrusted input of any type."""
    names = [name for name in recorded if isinstance(name, str)] if isinstance(recorded, list) else []
    return [name for name in names if name not in _loaded and re.fullmatch(MODULE, name, re.ASCII)]


def how_to_load(missing: Sequence[str]) -> str:
    """Say in half a line that plug-ins are missing, and how to load them."""
    several = "plug-ins" if len(missing) > 1 else "plug-in"
    be = "are" if len(missing) > 1 else "is"
    return (
        f"needs the {several} {', '.join(missing)}, which {be} not loaded; use plugins=[{','.join(missing)}] if you "
        "trust the code of that name"
    )


def line_in_plugin(error: BaseException) -> str:
    """Name the last line of a plug-in through which an error came, such as "mine.py line 12"; "" if there is none."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if any(module == name or module.startswith(f"{name}.") for name in _loaded):
            found = f"{os.path.relpath(frame.f_code.co_filename)} line {line}"
    return found


def _import(name: str) -> None:
    before, STATE.loading = STATE.loading, name
    try:
        import_module(name)
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a SystemExit, too, would end the command without a word
        raise SettingError(f"plugins: {name} cannot be imported ({_cause(error, name)})") from error
    finally:
        STATE.loading = before
    _loaded.append(name)


def _cause(error: BaseException, name: str) -> str:
    """Describe an error of an import, with the line of the plug-in's own code that caused it."""
    if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
        return "there is no such module in the working directory or among the installed ones"
    text = printable(f"{type(error).__name__}: {' '.join(str(error).split())}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    inside = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    return f"{text}, {os.path.relpath(inside[-1].filename)} line {inside[-1].lineno}" if inside else text


def _find_in_working_directory() -> None:
    """Let modules be found in the working directory, as `python -m` does, also by an installed command."""
    here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)


def _load_installed() -> None:
    """Load the plug-ins of installed packages; one that fails is reported, and the command continues without it."""
    if OWN in _installed:
        return
    _installed.add(OWN)  # once per process
    for point in entry_points(group=GROUP):
        if point.module in _loaded:
            continue
        _installed.add(point.module)
        try:
            _import(point.module)
        except UserError as error:
            print(f"note: {error}", file=sys.stderr)
