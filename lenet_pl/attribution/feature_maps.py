"""First filters and feature maps of a network, as tensors and figures.

Neither captum nor a run folder is needed, so that a training can draw them for the network in memory.
"""

import copy

import torch
from torch import Tensor, nn

from lenet_pl.attribution.plots import draw_feature_maps, draw_filters
from lenet_pl.data.transform import Preprocess
from lenet_pl.display.figure import Figure
from lenet_pl.errors import SettingError


def first_filters(model: nn.Module) -> Tensor:
    """Return a copy of the weights of the first convolution, float (out_channels, C, k, k).

    Raises:
        SettingError: The network has no convolution.
    """
    return require_convolutions(model)[0].weight.detach().clone()


def require_convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a network in the order of their registration.

    Raises:
        SettingError: There are none.
    """
    found = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    if not found:
        raise SettingError(
            f"methods: {type(model).__name__} has no convolution (Conv2d); must be integrated_gradients or occlusion"
        )
    return found


def in_stages(model: nn.Module) -> bool:
    """Whether a network is of this package: `features` of the layers conv1, activation1, ..., then `classifier`."""
    features = getattr(model, "features", None)
    return isinstance(features, nn.Sequential) and {"conv1", "activation1"} <= dict(features.named_children()).keys()


def layer_maps(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Compute the output of each convolution layer, after its activation and before any pooling.

    Of a network that is not of this package, whose structure is unknown, it is the output of the convolution itself.

    Args:
        model: A network in evaluation mode.
        inputs: Normalized images, float (N, C, H, W).

    Returns:
        The feature maps of conv1, conv2, ..., or of each convolution by its name, in the order of their execution,
        float (N, channels, H, W).
    """
    if not in_stages(model):
        return _convolution_outputs(model, inputs)
    maps = {}
    with torch.no_grad():
        values, features = inputs, model.get_submodule("features")
        assert isinstance(features, nn.Sequential)
        for name, layer in activations_before_pooling(features).named_children():
            values = layer(values)
            if name.startswith("activation"):
                maps[name.replace("activation", "conv")] = values
    return maps


def _convolution_outputs(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    maps: dict[str, Tensor] = {}
    names = {layer: name for name, layer in model.named_modules()}
    handles = [
        layer.register_forward_hook(lambda module, _, output: maps.update({names[module]: output}))
        for layer in require_convolutions(model)
    ]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return maps


def activations_before_pooling(features: nn.Sequential) -> nn.Sequential:
    """Reorder the layers so that each activation directly follows its convolution or normalization.

    Networks pool before a monotonic activation, which gives the same result at a lower cost. Grad-CAM and plots need
    the activation before the pooling.

    Args:
        features: The layers conv1, norm1, activation1, pool1, conv2, ... of a network.

    Returns:
        A new container of the same layers, which share their weights.
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


def draw_layers(model: nn.Module, preprocess: Preprocess, image: Tensor, name: str) -> dict[str, Figure]:
    """Draw the filters of the first convolution, and the feature maps of an image.

    Args:
        model: A network, on any device and in any mode and precision; it is not changed.
        preprocess: The preprocessing for the network.
        image: An image as stored, uint8 (C, h, w).
        name: The name of the network, for the headings.

    Returns:
        The figures `filters` and `feature_maps`; none of a network without convolutions.
    """
    if not any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        return {}
    weight, training = first_filters(model), model.training
    preprocess = copy.deepcopy(preprocess).cpu()  # it may be on another device than the network
    with torch.no_grad():
        inputs = preprocess(image[None].cpu()).to(weight)  # device and precision
        maps = {layer: values[0].float().cpu() for layer, values in layer_maps(model.eval(), inputs).items()}
    model.train(training)
    pixels = preprocess.resize(image[None].cpu())[0]
    return {
        "filters": draw_filters(weight.float().cpu(), f"{name}: filters of conv1"),
        "feature_maps": draw_feature_maps(pixels, maps, f"{name}: feature maps of one image"),
    }
