"""What is inside a network, of whatever origin: its first filters and its feature maps, as tensors and as pictures.

Nothing here needs captum or a run folder, so that a training can show its network the moment it is done.
"""

import copy

import torch
from torch import Tensor, nn

from lenet_pl.data.transform import ModelInput
from lenet_pl.explanation.pictures import draw_feature_maps, draw_filters
from lenet_pl.figure import Figure


def first_filters(model: nn.Module) -> Tensor:
    """Return the weights of the first convolution, float (maps, C, k, k)."""
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    return first.weight.detach().clone()


def layer_maps(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Compute what each convolution layer shows to the next one, after its activation and before a pooling.

    Args:
        model: a network of this project in evaluation mode.
        inputs: normalised images, float (N, C, H, W).

    Returns:
        For conv1, conv2, ... float (N, maps, H, W).
    """
    maps = {}
    with torch.no_grad():
        values, features = inputs, model.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        for name, layer in activation_first(features).named_children():
            values = layer(values)
            if name.startswith("activation"):
                maps[name.replace("activation", "conv")] = values
    return maps


def activation_first(features: nn.Sequential) -> nn.Sequential:
    """Arrange the layers so that each activation follows its convolution; they stay the same layers.

    A network may pool before an activation where both orders give the same, as it is less work. What an eye or Grad-CAM
    wants is the map before the pooling.
    """
    layers = dict(features.named_children())
    order = nn.Sequential()
    for name, layer in layers.items():
        kind = name.rstrip("0123456789")
        number = name.removeprefix(kind)
        if kind != "activation":
            order.add_module(name, layer)
        if kind == ("norm" if f"norm{number}" in layers else "conv"):
            order.add_module(f"activation{number}", layers[f"activation{number}"])
    return order


def draw_layers(model: nn.Module, to_input: ModelInput, image: Tensor, name: str) -> dict[str, Figure]:
    """Draw the filters of a network's first convolution, and the feature maps that it makes of an image.

    Args:
        model: a network of this project on any device, in any mode and precision; it is left as it was.
        to_input: brings images to what the network takes.
        image: uint8 (C, h, w).
        name: of the network, for the headings.

    Returns:
        `filters` and `feature_maps`.
    """
    weight, training = first_filters(model), model.training
    to_input = copy.copy(to_input).to(torch.device("cpu"))  # where a training leaves it is not where the network is
    with torch.no_grad():
        inputs = to_input(image[None].cpu()).to(weight)  # device and precision
        maps = {layer: values[0].float().cpu() for layer, values in layer_maps(model.eval(), inputs).items()}
    model.train(training)
    pixels = to_input.to_size(image[None].cpu())[0]
    return {
        "filters": draw_filters(weight.float().cpu(), f"{name}: filters of conv1"),
        "feature_maps": draw_feature_maps(pixels, maps, f"{name}: feature maps of one image"),
    }
