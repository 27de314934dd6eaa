"""The search uses Optuna's public interface alone, so that a new version of Optuna cannot break it silently."""

import ast
from pathlib import Path

import pytest

import lenet_pl.search

MODULES = sorted(Path(lenet_pl.search.__file__).parent.glob("*.py"))


def private_names(source: str) -> list[str]:
    """List the private attributes of objects other than `self`, and the private names imported from Optuna."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            found += [node.attr] if not (isinstance(node.value, ast.Name) and node.value.id == "self") else []
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("optuna", "sqlalchemy"):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [name for name in names if name.startswith("_")]
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_private_name_of_optuna_is_used(module: Path) -> None:
    assert private_names(module.read_text()) == []


def test_private_names_are_found() -> None:
    source = "from optuna.storages import _CachedStorage\nstudy._study_id\nself._own\ntype(study).__name__"
    assert sorted(private_names(source)) == ["_CachedStorage", "_study_id"]
