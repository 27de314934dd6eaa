"""Parameter groups of an optimizer, with a learning rate for each layer."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import nn, optim

from lenet_pl.models.layer_selection import layers_of, matches, select_parameters

LR_SCALE = "lr_scale"  # timm's name, too


def parameter_groups(model: nn.Module, layer_decay: float | Mapping[str, float]) -> list[dict[str, Any]]:
    """Group the parameters of a network by the factor of their learning rate.

    Args:
        model: The network.
        layer_decay: With a number, the last layer has the factor 1, and each layer before it `layer_decay` times the
            factor of the next one, as in timm. With a mapping, the factor of the last pattern that matches the layer
            (see `select_parameters`), or 1.

    Returns:
        Groups with the keys `params` and `lr_scale`, for the optimizer and then `scale_learning_rates`. The group with
        the factor 1 comes first, since its learning rate is the one that is logged; then the largest factor.

    Raises:
        SettingError: A pattern matches no parameter.

    Source: Howard and Ruder 2018, "Universal Language Model Fine-tuning", section 3.2, discriminative fine-tuning.
    """
    factors = {name: 1.0 for name, _ in model.named_parameters()}
    if isinstance(layer_decay, Mapping):
        for pattern, factor in layer_decay.items():
            select_parameters(model, [pattern], "layer_decay")
            factors |= {name: factor for name in factors if matches(name, pattern)}
    else:
        for distance, layer in enumerate(reversed(layers_of(model))):
            factors |= dict.fromkeys(layer, layer_decay**distance)
    groups: dict[float, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        groups[factors[name]].append(parameter)
    order = sorted(groups, key=lambda factor: (factor != 1, -factor))
    return [{"params": groups[factor], LR_SCALE: factor} for factor in order]


def scale_learning_rates(optimizer: optim.Optimizer) -> None:
    """Multiply the learning rate of each group by its `lr_scale`, before a scheduler is built."""
    for group in optimizer.param_groups:
        group["lr"] *= group.get(LR_SCALE, 1.0)
