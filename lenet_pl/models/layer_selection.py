"""Layers of a network, selected by name or pattern."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lenet_pl.errors import SettingError, did_you_mean


def select_parameters(model: nn.Module, patterns: Iterable[str], key: str) -> list[str]:
    """List the parameters in the layers that patterns name, in the order of the network.

    Args:
        model: The network.
        patterns: Names of modules or parameters, such as `features.conv1`, each with all that is in it; `*`, `?` and
            `[...]` as in file names.
        key: The setting that contains the patterns, for the error.

    Raises:
        SettingError: A pattern matches no parameter.

    Example::

        select_parameters(model, ["features", "*.norm*"], "freeze")
    """
    names = [name for name, _ in model.named_parameters()]
    selected: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if matches(name, pattern)}
        if not found:
            layers = [name for name, module in model.named_modules() if name and any(True for _ in module.parameters())]
            near = did_you_mean(pattern, layers)
            raise SettingError(
                f"{key}: got {pattern}, which matches no layer with weights; "
                f"{near + ' ' if near else ''}must be among {', '.join(layers)}, or a pattern of them"
            )
        selected |= found
    return [name for name in names if name in selected]


def matches(name: str, pattern: str) -> bool:
    """Whether a pattern matches the dotted name of a parameter, or that of a module that contains it."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def layers_of(model: nn.Module) -> list[list[str]]:
    """Group the parameters by layer, from input to output; batch normalization belongs to the layer before it."""
    layers: list[list[str]] = []
    for name, module in model.named_modules():
        own = [f"{name}.{own}" if name else own for own, _ in module.named_parameters(recurse=False)]
        if own and layers and isinstance(module, _BatchNorm):
            layers[-1] += own
        elif own:
            layers.append(own)
    return layers


def head_of(model: nn.Module, classes: int) -> str | None:
    """Return the name of the last layer with weights if it has one output per class; None for fixed outputs."""
    *_, last = [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]
    return last if all(len(value) == classes for value in model.get_submodule(last).parameters()) else None
