"""The commands and what each is for, read from their modules without importing them."""

import ast
from pathlib import Path

from lenet_pl.config_files.folders import commands

PACKAGE = Path(__file__).resolve().parents[2]


def descriptions() -> dict[str, str]:
    """Map each command to the first line of its `__main__` docstring, a description with an example.

    A command has both a module and a configuration file. `train` comes first.
    """
    found: dict[str, str] = {}
    for name in commands():
        module = PACKAGE / name / "__main__.py"
        if module.is_file():
            text = module.read_text(encoding="utf-8")
            found[name] = (ast.get_docstring(ast.parse(text)) or name).splitlines()[0].replace("`", "")
    return found


def purposes() -> dict[str, str]:
    """Map each command to its description without the example."""
    return {name: text.partition(": python -m")[0] for name, text in descriptions().items()}
