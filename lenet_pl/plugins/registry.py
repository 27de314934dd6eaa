"""The registry of parts, and the decorator that adds to it."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeVar

from lenet_pl.errors import SettingError
from lenet_pl.plugins.kinds import KINDS, kind_named

AnyObject = TypeVar("AnyObject", bound=Callable[..., Any])
OWN = ""  # the plug-in of the project's own parts


@dataclass(frozen=True)
class Entry:
    """A registered part.

    Attributes:
        kind: Name of the kind.
        name: Name of the part, by which it is chosen.
        target: Class or function, or its place "module:object", which is imported when the part is built.
        settings: Settings class; None if the keyword arguments of the target are the settings.
        plugin: Module that was loaded as a plug-in; empty for the project's own parts.
    """

    kind: str
    name: str
    target: Callable[..., Any] | str
    settings: type[Any] | None = None
    plugin: str = OWN

    def load(self) -> Callable[..., Any]:
        """Import the target."""
        if not isinstance(self.target, str):
            return self.target
        module, _, name = self.target.partition(":")
        target: Callable[..., Any] = getattr(import_module(module), name)
        return target


@dataclass
class _State:
    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    loading: str = OWN  # plug-in that is being imported


STATE = _State()


def register(kind: str, name: str, *, settings: type[Any] | None = None) -> Callable[[AnyObject], AnyObject]:
    """Register a part under a name, by which the config group of its kind offers it.

    The decorated object is called with its settings as keyword arguments, or with one argument `settings` if it has a
    parameter of that name, and with what its kind provides:

    | kind        | chosen by             | called with, besides its settings                   | returns                |
    |-------------|-----------------------|-----------------------------------------------------|------------------------|
    | `model`     | `model=`              | `num_classes`, `channels` or `in_channels`, `image_size` | nn.Module: (B, C, H, W) → logits (B, K) |
    | `data`      | `data=`               | `train` (bool), if it takes it, once each           | torch Dataset, or images and labels |
    | `transform` | `transforms=[...]`    | nothing; a function gets the batch (B, C, H, W)     | callable on a batch    |
    | `loss`      | `loss=`               | `num_classes`, `class_weights`; a function gets logits and labels | callable on logits and labels |
    | `metric`    | `metrics=[...]`       | `num_classes`                                       | torchmetrics Metric    |
    | `optimizer` | `optimizer=`          | the parameters, first                               | Optimizer              |
    | `scheduler` | `scheduler=`          | the optimizer, first; `steps`, `steps_per_epoch`     | LRScheduler, or Lightning's dictionary |
    | `callback`  | `extra_callbacks=[...]` | `folder` of the run                               | Lightning Callback     |
    | `logger`    | `extra_loggers=[...]` | `folder` or `save_dir`                              | Lightning Logger       |

    Args:
        kind: Kind of the part, from the table.
        name: Name of the part: letters, digits, _ and -, beginning with a letter.
        settings: Class derived from `lenet_pl.settings.Settings` with type, range and default of each setting. By
            default the keyword arguments of the object are its settings, checked against their annotations.

    Raises:
        SettingError: The kind is unknown, the name invalid, or another plug-in has taken it.

    Example::

        @register("loss", "focal")
        def focal(logits, labels, gamma: float = 2.0):
            log_p = torch.nn.functional.log_softmax(logits, 1).gather(1, labels[:, None])
            return -((1 - log_p.exp()) ** gamma * log_p).mean()
    """  # noqa: E501
    plugin = STATE.loading or str(sys._getframe(1).f_globals.get("__name__", "__main__"))

    def add(target: AnyObject) -> AnyObject:
        _add(Entry(kind_named(kind).name, name, target, settings, plugin))
        return target

    return add


def register_own(kind: str, name: str, target: str, settings: type[Any]) -> None:
    """Register a part of the project by the place of its class or function, "module:object"."""
    _add(Entry(kind, name, target, settings))


def _add(entry: Entry) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", entry.name):
        raise SettingError(
            f"register: got the name {entry.name!r} for a {entry.kind}; must be letters, digits, _ and -, and begin "
            "with a letter"
        )
    there = STATE.entries[entry.kind].get(entry.name)
    if there and there.plugin != entry.plugin:
        owner = f"the plug-in {there.plugin}" if there.plugin else "lenet_pl"
        raise SettingError(
            f"plugins: {entry.plugin} registers the {entry.kind} {entry.name}, as does {owner}; must have another name"
        )
    STATE.entries[entry.kind][entry.name] = entry


def entries(kind: str) -> dict[str, Entry]:
    """Return the parts of a kind by name."""
    return STATE.entries[kind]


def plugin_entries() -> list[Entry]:
    """List the parts of all loaded plug-ins."""
    return [entry for named in STATE.entries.values() for entry in named.values() if entry.plugin]


def plugged_names(group: str) -> list[str]:
    """List the choices that plug-ins add to a config group."""
    return [entry.name for entry in plugin_entries() if KINDS[entry.kind].group == group]


def used_plugins(settings: Any) -> list[str]:
    """List the plug-ins that the parts of a training come from.

    Args:
        settings: The settings of the training, with a group for each kind of parts.
    """
    used = set()
    for kind in KINDS.values():
        group = getattr(settings, kind.group)
        for part in group.values() if kind.listed else (group,):
            used.add(entries(kind.name)[getattr(part, kind.tag)].plugin)
    return sorted(used - {OWN})
