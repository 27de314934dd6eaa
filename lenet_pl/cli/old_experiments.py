"""Experiment files that an earlier version wrote, such as the best of a search, given today's names."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from lenet_pl.settings.renamed import upgraded, upgraded_defaults
from lenet_pl.settings.types import expand_home


def upgraded_searchpath(given: Mapping[str, str]) -> str | None:
    """Write upgraded copies of the chosen experiments into a temporary folder, which Hydra looks into first.

    Args:
        given: words of the command line by their keys.

    Returns:
        The word hydra.searchpath=... with that folder; None where no experiment has old names.
    """
    word = given.get("hydra.searchpath", "")
    names = given.get("experiment", "").partition("=")[2].split(",")
    folders = re.findall(r"file://([^,\]'\"]+)", word)
    found = {name: file for name in names for folder in reversed(folders) if (file := _file(folder, name)).is_file()}
    texts = {name: text for name, file in found.items() if (text := _upgraded_text(file))}
    if not texts:
        return None
    place = Path(tempfile.mkdtemp(prefix="lenet_pl_"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for name, text in texts.items():
        copy = place / "experiment" / f"{name}.yaml"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")
    return word.replace("[", f"[file://{place},", 1)


def _file(folder: str, name: str) -> Path:
    return Path(expand_home(folder)) / "experiment" / f"{name.strip()}.yaml"


def _upgraded_text(file: Path) -> str:
    """Write the content with today's names; empty if it has no others, or cannot be read, which Hydra tells."""
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    if not isinstance(content, dict):
        return ""
    new = upgraded(content)
    if isinstance(new.get("defaults"), list):
        new["defaults"] = upgraded_defaults(new["defaults"])
    if new == content:
        return ""
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return header + yaml.safe_dump(new, sort_keys=False, allow_unicode=True)
