"""What the activations of each layer do on real images: dead units, saturation, range."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lenet_pl.models.layers import ScaledTanh

# The slope of a saturating function, relative to its steepest
SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda y: 4 * y * (1 - y),
    nn.Tanh: lambda y: 1 - y.square(),
    ScaledTanh: lambda y: 1 - (y / ScaledTanh.AMPLITUDE).square(),
}
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, *SLOPES)
FLAT = 0.05  # relative slope; a gradient that passes it shrinks to a twentieth of what it could be
SAME = 1e-6  # relative range of outputs that are the same but for rounding
BINS = 40


@dataclass(frozen=True)
class LayerStatistics:
    """The outputs of an activation function for some images. A unit is a channel of a feature map, or a neuron.

    Attributes:
        name: The name of the layer in the network.
        kind: The class of the function.
        units: The number of units.
        dead: The fraction of the units whose output is the same for all images, and at all positions.
        saturated: The fraction of the outputs at which the function has hardly any slope; 0 of those without a limit.
        mean: The mean of all outputs.
        std: Their standard deviation.
        counts: A histogram of the outputs.
        edges: The smallest and the largest output.
    """

    name: str
    kind: str
    units: int
    dead: float
    saturated: float
    mean: float
    std: float
    counts: list[int]
    edges: tuple[float, float]


@torch.no_grad()
def measure_layers(network: nn.Module, inputs: Tensor) -> list[LayerStatistics]:
    """Measure all activation functions of a network in evaluation mode, in the order of their execution.

    Args:
        network: The network. Functions that are not modules, as in a plug-in, are not seen.
        inputs: Preprocessed images, float (N, C, H, W).
    """
    found: list[LayerStatistics] = []
    names = {module: name for name, module in network.named_modules()}

    def measure(module: nn.Module, _: Any, output: Tensor) -> None:
        found.append(_statistics(names[module], module, output))

    handles = [m.register_forward_hook(measure) for m in network.modules() if isinstance(m, ACTIVATIONS)]
    try:
        network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _statistics(name: str, module: nn.Module, output: Tensor) -> LayerStatistics:
    values = output.detach().float().nan_to_num()
    by_unit = values.transpose(0, 1).flatten(1)  # (units, images · positions)
    span = by_unit.amax(1) - by_unit.amin(1)
    slope = next((slope(values) for kind, slope in SLOPES.items() if isinstance(module, kind)), None)
    low, high = float(values.min()), float(values.max())
    edges = (low, high if high > low else low + 1)
    return LayerStatistics(
        name,
        type(module).__name__,
        len(by_unit),
        float((span <= SAME * by_unit.abs().amax(1).clamp(min=1)).double().mean()),
        0.0 if slope is None else float((slope < FLAT).double().mean()),
        float(values.mean()),
        float(values.std()),
        torch.histc(values, BINS, *edges).int().tolist(),
        edges,
    )
