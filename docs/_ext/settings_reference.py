"""Pages of the reference that are made from the package: commands, settings, experiments.

A setting's type and range come from its class in `lenet_pl.settings`, its default from `conf/`, its meaning from the
docstring of the field; where there is none, from the comment behind it in the class or in `conf/`. The pages are
written before Sphinx reads its sources, into `docs/reference/generated/`, which git ignores.
"""

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from setting_tables import (
    CONF,
    comments_of_choice,
    composed,
    first_paragraph,
    flow,
    is_discriminator,
    settings_table,
    show,
    table,
    yaml_comments,
)
from setting_types import classes_of

from lenet_pl.__main__ import commands
from lenet_pl.config_files.groups import choices_of, groups_of, parents_of
from lenet_pl.settings.parts import Part

GENERATED = Path(__file__).resolve().parents[1] / "reference" / "generated"
GROUPS = {  # pages of settings, in the order of the data: key of `train`, title
    "data": "Datasets",
    "loader": "Batches",
    "augment": "Augmentation",
    "model": "Models",
    "loss": "Loss",
    "optimizer": "Optimizers",
    "scheduler": "Learning-rate schedulers",
    "trainer": "Trainer",
    "callbacks": "Callbacks",
    "logger": "Loggers",
    "transforms": "Transforms of plug-ins",
    "metrics": "Further metrics",
    "extra_callbacks": "Further callbacks",
    "extra_loggers": "Loggers of plug-ins",
}


def settings_class(command: str) -> type[BaseModel]:
    """Find the settings of a command by their name, `TrainSettings` for `train`."""
    module = importlib.import_module(f"lenet_pl.settings.{command}")
    found: type[BaseModel] = getattr(module, f"{command.capitalize()}Settings")
    return found


def group_page(group: str, title: str) -> str:
    """Describe one group of the settings of a training, with all its choices."""
    field = settings_class("train").model_fields[group]
    registered = [mark for mark in field.metadata if isinstance(mark, Part)]
    classes = registered[0].classes() if registered else classes_of(field.annotation) or [field.annotation]
    parts = [f"(settings-{group})=\n# {title}\n"]
    folder = CONF / group
    if not folder.is_dir():
        text = yaml_comments(CONF / "train.yaml")
        inner = {key.partition(".")[2]: one for key, one in text.items() if key.startswith(f"{group}.")}
        parts.append(f"{first_paragraph(classes[0])}\n")
        parts.append(settings_table(classes[0], composed("train")[group], inner, f"{group}."))
        return "\n".join(parts)
    if get_origin(field.annotation) is dict:
        return "\n".join([*parts, *_listed(group, get_args(field.annotation)[1])])
    choices = choices_of(folder)
    default = next(one[group] for one in _defaults("train") if isinstance(one, dict) and group in one)
    listed = ", ".join(f"`{choice}`" for choice in choices)
    parts.append(f"Choose with `{group}=<choice>`: {listed}. Default: `{group}={default}`.\n")
    values = {choice: composed("train", f"{group}={choice}")[group] for choice in choices}
    for cls in classes:
        own = [choice for choice in choices if _fits(cls, values[choice])]
        if not own:
            continue
        base = default if default in own else _base(group, own)
        own.sort(key=lambda choice: choice != base)
        heading = ", ".join(f"`{group}={choice}`" for choice in own) if len(own) < 4 else f"`{group}={base}` and others"
        parts.append(f"## {heading}\n\n{first_paragraph(cls)}\n")
        if any(not is_discriminator(name, field, f"{group}.") for name, field in cls.model_fields.items()):
            parts.append(settings_table(cls, values[base], comments_of_choice(group, base), f"{group}."))
        if len(own) > 1:
            parts.append(f"Differences of the other choices from `{group}={base}`:\n")
            others = [
                [f"`{group}={one}`", _difference(group, values[one], values[base]) or "none"]
                for one in own
                if one != base
            ]
            parts.append(table(["choice", "settings"], others))
    return "\n".join(parts)


def _listed(group: str, part: Any) -> list[str]:
    """Describe the choices of a group of which a run takes any number."""
    choices = [choice for choice in choices_of(CONF / group) if choice != "none"]
    listed = ", ".join(f"`{choice}`" for choice in choices) or "those of [plug-ins](../../howto/own_parts.md)"
    found = [f"Choose any number with `{group}=[<choice>,...]`: {listed}. Default: `{group}=none`.\n"]
    for choice in choices:
        cls = next(mark for mark in get_args(part) if isinstance(mark, Part)).class_of(choice)
        found.append(f"## `{group}={choice}`\n\n{first_paragraph(cls)}\n")
        comments = {key.partition(".")[2]: text for key, text in comments_of_choice(group, choice).items()}
        own = [name for name in cls.model_fields if name != "name"]
        if own:
            values = composed("train", f"{group}={choice}")[group][choice]
            found.append(settings_table(cls, values, comments, f"{group}.{choice}.", own))
    return found


def _base(group: str, own: list[str]) -> str:
    parents = [
        parent
        for choice in own
        for parent in (yaml.safe_load((CONF / group / f"{choice}.yaml").read_text(encoding="utf-8")) or {}).get(
            "defaults", ()
        )
    ]
    return next((choice for choice in own if choice in parents), own[0])


def _fits(cls: type[BaseModel], values: Mapping[str, Any]) -> bool:
    for key in ("architecture", "name"):
        if key in cls.model_fields and get_origin(cls.model_fields[key].annotation) is Literal:
            return values.get(key) in get_args(cls.model_fields[key].annotation)
    return True


def _difference(group: str, values: Mapping[str, Any], base: Mapping[str, Any], prefix: str = "") -> str:
    found = []
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            found.append(_difference(group, value, base[key], f"{prefix}{key}."))
        elif value != base.get(key) and key != "name":
            found.append(f"`{prefix}{key}={flow(value)}`")
    return ", ".join(one for one in found if one)


def _defaults(command: str) -> list[Any]:
    found: list[Any] = yaml.safe_load((CONF / f"{command}.yaml").read_text(encoding="utf-8"))["defaults"]
    return found


def _help(command: str, part: str) -> str:
    values = yaml.safe_load((CONF / f"{command}.yaml").read_text(encoding="utf-8"))
    text: str = values.get("hydra", {}).get("help", {}).get(part, "") or ""
    return text


def command_page(command: str, purpose: str) -> str:
    """Describe one command: what it does, examples, settings of its own."""
    cls = settings_class(command)
    examples = [line.strip() for line in _help(command, "footer").splitlines() if line.strip().startswith("python")]
    listed = "\n".join(examples)
    parts = [f"(command-{command})=\n# {command}\n", f"{sentence(purpose)}\n", f"```bash\n{listed}\n```\n"]
    comments: dict[str, str] = {}
    for name in (*parents_of(command), command):
        comments |= yaml_comments(CONF / f"{name}.yaml")
    groups = set(groups_of(command))
    only = [name for name in cls.model_fields if not (command in ("train", "search") and name in GROUPS)]
    if command == "search":
        only = [name for name in ("run", "test", "search") if name in cls.model_fields]
    parts.append(settings_table(cls, composed(command), comments, only=only))
    if command == "train":
        pages = "\n".join(f"- [{title}](settings_{group}.md): `{group}`" for group, title in GROUPS.items())
        parts.append(f"Groups of settings, each on a page of its own:\n\n{pages}\n")
        parts.append(
            "Recipes and switches that change several groups: [`experiment`](experiments.md), "
            "[`debug`](experiments.md#debug).\n"
        )
    elif command == "search":
        parts.append("All settings of [train](command_train.md) are settings of `search` too.\n")
        parts.append(f"## Search spaces\n\n{_files(CONF / 'search')}")
    elif "data" in groups:
        parts.append("Another dataset is chosen as in training: see [Datasets](settings_data.md).\n")
    return "\n".join(parts)


def sentence(purpose: str) -> str:
    """Write the line that lists a command as a sentence: what it does, without the example."""
    text = re.sub(r": python -m .*$", "", purpose).strip()
    return text if text.endswith((".", "?")) else f"{text}."


def experiments_page() -> str:
    """List the recipes in `conf/experiment/`, with the header of each file, and the choices of `debug`."""
    parts = [
        "(settings-experiment)=\n# Experiments\n",
        "`experiment=<name>` holds what differs from the defaults. Settings on the command line win over it.\n",
        _files(CONF / "experiment"),
        "## Debug\n\n`debug=<name>` shortens a training in order to look for mistakes.\n",
        _files(CONF / "debug", "###"),
    ]
    return "\n".join(parts)


def _files(folder: Path, level: str = "##") -> str:
    parts = []
    for name in choices_of(folder):
        text = (folder / f"{name}.yaml").read_text(encoding="utf-8").removeprefix("# @package _global_\n")
        parts.append(f"{level} `{folder.name}={name}`\n\n```yaml\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def launcher_page() -> str:
    """Describe the SLURM launcher's settings."""
    path = CONF / "hydra" / "launcher" / "slurm.yaml"
    values, comments = yaml.safe_load(path.read_text(encoding="utf-8")), yaml_comments(path)
    rows = [
        [f"`hydra.launcher.{key}`", show(value), comments.get(key, "")]
        for key, value in values.items()
        if key != "defaults"
    ]
    header = " ".join(line.removeprefix("# ") for line in path.read_text().splitlines() if line.startswith("# "))
    text = f"(settings-slurm)=\n# SLURM launcher\n\n{header}\n\n"
    return text + f"```{{table}}\n:class: settings\n\n{table(['setting', 'default', 'meaning'], rows)}```\n"


def pages() -> dict[str, str]:
    """Make all pages: file name without suffix, and text."""
    found = {f"settings_{group}": group_page(group, title) for group, title in GROUPS.items()}
    found |= {f"command_{name}": command_page(name, purpose) for name, purpose in commands().items()}
    found |= {"experiments": experiments_page(), "slurm": launcher_page()}
    return found


def write_pages(app: Any = None) -> None:
    """Write the pages that have changed, and remove those that are made no longer."""
    GENERATED.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in GENERATED.glob("*.md"):
        if old.stem not in made:
            old.unlink()
    for name, text in made.items():
        path = GENERATED / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Write the pages before Sphinx looks for its sources."""
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
