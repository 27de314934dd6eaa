"""Tables of settings: what each takes, its default from `conf/`, and its meaning."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import hydra
import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from setting_types import branches, classes_of, describe_type, is_choice, is_class, plain

from lenet_pl.settings.compose import conf_dir

CONF = conf_dir()


def meaning(cls: type[BaseModel], name: str, comments: Mapping[str, str]) -> str:
    """Find what a field means: its description, the comment behind it, or the one in `conf/`."""
    field = cls.model_fields[name]
    text = field.description or comments.get(name) or _source_comments(cls).get(name) or ""
    text = " ".join(text.split())
    choices = {plain(one) for branch in branches(field.annotation) for one in get_args(branch) if is_choice(branch)}
    if set(re.split(r"[,\s]+", text)) <= choices | {"or", "and"}:
        return ""  # says no more than the type
    text = re.sub(r"[^\s`;,]*<[^>`]*>[^\s`;,]*", r"`\g<0>`", text) if "`" not in text else text
    text = re.sub(r"(?:(?<=^)|(?<=; ))(true|false|null|auto|\w+)(?=: )", r"`\1`", text)
    return text[:1].upper() + text[1:] if not text.startswith(("px", "s ", "lr", "mu", "j ")) else text


def _source_comments(cls: type[BaseModel]) -> dict[str, str]:
    found: dict[str, str] = {}
    for ancestor in reversed(cls.__mro__):
        if is_class(ancestor) and ancestor is not BaseModel and ancestor.__module__.startswith("lenet_pl"):
            for line in inspect.getsource(ancestor).splitlines():
                if hit := re.match(r"    (\w+): .*?  # (?!type: |noqa)(.*)$", line):
                    found[hit[1]] = hit[2]
    return found


def yaml_comments(path: Path) -> dict[str, str]:
    """Read the comment behind each key of a configuration file; nested keys are dotted."""
    found: dict[str, str] = {}
    stack: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        hit = re.match(r"^( *)([\w.]+):(.*?)(?:\s+# (.*))?$", line)
        if not hit:
            continue
        depth = len(hit[1])
        while stack and stack[-1][0] >= depth:
            stack.pop()
        key = ".".join([*(name for _, name in stack), hit[2]])
        if hit[4]:
            found[key] = hit[4]
        stack.append((depth, hit[2]))
    return found


def comments_of_choice(group: str, choice: str) -> dict[str, str]:
    """Comments of a choice, and of those that it builds on."""
    path = CONF / group / f"{choice}.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    found: dict[str, str] = {}
    for parent in values.get("defaults", ()):
        if isinstance(parent, str) and parent != "_self_" and (CONF / group / f"{parent}.yaml").exists():
            found |= comments_of_choice(group, parent)
    return found | yaml_comments(path)


def composed(command: str, *overrides: str) -> dict[str, Any]:
    """Compose the configuration of a command; interpolations stay as they are written."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config: DictConfig = hydra.compose(command, list(overrides))
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def show(value: Any) -> str:
    """Write a default as it is written on the command line."""
    if value == "???":
        return "required"
    if value is None:
        return "`null`"
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    return f"`{flow(value)}`"


def flow(value: Any) -> str:
    """Write a value in YAML's flow style."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {flow(one)}' for key, one in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(header: list[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def settings_table(
    cls: type[BaseModel],
    defaults: Mapping[str, Any] | None,
    comments: Mapping[str, str],
    prefix: str = "",
    only: Iterable[str] | None = None,
) -> str:
    """Describe the fields of a settings class, groups inside it included.

    Args:
        cls: The settings class.
        defaults: The values of one configuration.
        comments: The comments in its file, by dotted key.
        prefix: What stands before each key on the command line, with its dot.
        only: The fields that are described; None: all.
    """
    rows = list(_rows(cls, defaults or {}, comments, prefix, "", only))
    return f"```{{table}}\n:class: settings\n\n{table(['setting', 'takes', 'default', 'meaning'], rows)}```\n"


def _rows(
    cls: type[BaseModel],
    defaults: Mapping[str, Any],
    comments: Mapping[str, str],
    prefix: str,
    inside: str,
    only: Iterable[str] | None,
) -> Iterator[list[str]]:
    for name, field in cls.model_fields.items():
        if (only is not None and name not in only) or is_discriminator(name, field, prefix):
            continue
        groups = classes_of(field.annotation)
        value = defaults.get(name)
        if groups:
            inner = value if isinstance(value, Mapping) else {}
            optional = type(None) in get_args(field.annotation)
            if optional:
                shown = "settings below" if isinstance(value, Mapping) else show(value)
                about = meaning(cls, name, {name: comments.get(f"{inside}{name}", "")})
                yield [f"`{prefix}{name}`", "settings or `null`", shown, about]
            yield from _rows(groups[0], inner, comments, f"{prefix}{name}.", f"{inside}{name}.", None)
            continue
        about = meaning(cls, name, {name: comments.get(f"{inside}{name}", "")})
        yield [f"`{prefix}{name}`", describe_type(field.annotation, field.metadata), show(value), about]


def is_discriminator(name: str, field: FieldInfo, prefix: str) -> bool:
    """Whether the choice of a group sets it, and no user does."""
    group = prefix.removesuffix(".")
    return name in ("name", "architecture") and is_choice(field.annotation) and (CONF / group).is_dir() and group != ""


def first_paragraph(cls: type[BaseModel]) -> str:
    """Read the first paragraph of a class's docstring."""
    return inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
