"""Layers of a network as plain values and weights, in the order in which they run: what the page computes with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.models.layers import RBFOutput, ScaledTanh, SparseConv2d, TrainableSubsampling

Shape = tuple[int, ...]


@dataclass
class PageLayer:
    """One computation of the network.

    Attributes:
        kind: The function in `page/layers.js` that computes it.
        numbers: Its other arguments, plain JSON values.
        tensors: Its weights by name; None for a missing bias.
    """

    kind: str
    numbers: dict[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor | None] = field(default_factory=dict)


def read_layers(model: nn.Module, channels: int, image_size: int) -> dict[str, PageLayer]:
    """Read the layers of a network that is a chain of torch's or this project's modules.

    The network runs once on noise. That each module gets what the one before it returned shows that there is nothing
    between them.

    Args:
        model: The network, in evaluation mode.
        channels: The number of image channels.
        image_size: The height and width of the network's input, px.

    Returns:
        The layers by their name in the network. Flattening and dropout, which change no value, are left out.

    Raises:
        SettingError: A layer is of another kind, or the network is not a chain.
    """
    found: dict[str, PageLayer] = {}
    last = torch.rand(1, channels, image_size, image_size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = last

    def take(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, given: tuple[Tensor, ...], returned: Tensor) -> None:
            nonlocal last
            unchanged = isinstance(layer, UNCHANGED)
            if name in found or not same_values(given[0], last) or (unchanged and not same_values(returned, last)):
                raise refuse(name, layer, "is not part of a chain of layers")
            last = returned
            if not unchanged:
                found[name] = READERS[type(layer)](name, layer, tuple(given[0].shape[1:]))

        return hook

    hooks = []
    with torch.inference_mode():
        try:
            for name, layer in leaves(model):
                if type(layer) not in READERS and not isinstance(layer, UNCHANGED):
                    raise refuse(name, layer, "must be one of those in docs/howto/export.md")
                hooks.append(layer.register_forward_hook(take(name)))
            logits = model(images)
        finally:
            for hook in hooks:
                hook.remove()
    if not found or not same_values(logits, last):
        raise refuse("model", model, "is not a chain of layers")
    return found


def leaves(model: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """List the modules that compute something, with their names."""
    children = list(model.named_children())
    if type(model) in READERS or not children:
        return [(name or "model", model)]
    return [leaf for key, child in children for leaf in leaves(child, f"{name}.{key}" if name else key)]


def same_values(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal but for their shape."""
    return a.numel() == b.numel() and torch.equal(a.flatten(), b.flatten())


def refuse(name: str, layer: nn.Module, why: str) -> SettingError:
    """Build the error for a layer that the page cannot contain."""
    return SettingError(f"formats: page does not support {type(layer).__name__} ({name}): {why}; or leave page out")


def _conv(name: str, layer: nn.Conv2d, shape: Shape) -> PageLayer:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str) or set(layer.dilation) != {1}:
        raise refuse(name, layer, "must have zeros as its padding, a number of pixels, and no dilation")
    numbers = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
    return PageLayer("conv", numbers, {"weight": layer.weight, "bias": layer.bias})


def _sparse_conv(name: str, layer: SparseConv2d, shape: Shape) -> PageLayer:
    numbers = {"stride": (1, 1), "padding": (0, 0), "groups": 1}
    return PageLayer("conv", numbers, {"weight": layer.kernel(), "bias": layer.bias})


def _linear(name: str, layer: nn.Linear, shape: Shape) -> PageLayer:
    if len(shape) != 1:
        raise refuse(name, layer, "must get one value per feature; flatten the maps before it")
    return PageLayer("linear", {}, {"weight": layer.weight, "bias": layer.bias})


def _rbf(name: str, layer: RBFOutput, shape: Shape) -> PageLayer:
    return PageLayer("rbf", {}, {"weight": layer.codes, "bias": None})


def _pool(name: str, layer: nn.MaxPool2d | nn.AvgPool2d, shape: Shape) -> PageLayer:
    dilation = getattr(layer, "dilation", 1)
    if _pair(layer.padding) != (0, 0) or _pair(dilation) != (1, 1) or layer.ceil_mode:
        raise refuse(name, layer, "must have no padding, dilation or ceil_mode")
    if getattr(layer, "divisor_override", None):
        raise refuse(name, layer, "must have no divisor_override")
    numbers = {"window": _pair(layer.kernel_size), "stride": _pair(layer.stride)}
    return PageLayer("max_pool" if isinstance(layer, nn.MaxPool2d) else "avg_pool", numbers)


def _subsampling(name: str, layer: TrainableSubsampling, shape: Shape) -> PageLayer:
    tensors = {"weight": 4 * layer.coefficient, "bias": layer.bias}
    return PageLayer("avg_pool", {"window": (2, 2), "stride": (2, 2)}, tensors)


def _batch_norm(name: str, layer: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape) -> PageLayer:
    if layer.running_mean is None or layer.running_var is None:
        raise refuse(name, layer, "must have running statistics")
    scale = (layer.running_var.double() + layer.eps).rsqrt()
    scale = scale * layer.weight.double() if layer.affine else scale
    shift = -layer.running_mean.double() * scale
    shift = shift + layer.bias.double() if layer.affine else shift
    return PageLayer("affine", {}, {"weight": scale, "bias": shift})


def _group_norm(name: str, layer: Any, shape: Shape) -> PageLayer:
    """Read layer, group or instance normalization, each over groups of channels of one image."""
    if getattr(layer, "track_running_stats", False):
        raise refuse(name, layer, "must have no running statistics")
    if isinstance(layer, nn.LayerNorm) and len(shape) != 1:
        raise refuse(name, layer, "must come after a fully connected layer")
    groups = {nn.LayerNorm: 1, nn.InstanceNorm2d: shape[0]}.get(type(layer)) or layer.num_groups
    tensors = {"weight": layer.weight, "bias": layer.bias}
    return PageLayer("group_norm", {"groups": groups, "eps": layer.eps}, tensors)


def _activation(kind: str, **values: str) -> Callable[[str, Any, Shape], PageLayer]:
    def read(name: str, layer: Any, shape: Shape) -> PageLayer:
        if getattr(layer, "approximate", "none") != "none":
            raise refuse(name, layer, "must be exact, approximate='none'")
        return PageLayer(kind, {key: getattr(layer, attribute) for key, attribute in values.items()})

    return read


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


UNCHANGED = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)
READERS: dict[type[nn.Module], Callable[[str, Any, Shape], PageLayer]] = {
    nn.Conv2d: _conv,
    SparseConv2d: _sparse_conv,
    nn.Linear: _linear,
    RBFOutput: _rbf,
    nn.MaxPool2d: _pool,
    nn.AvgPool2d: _pool,
    TrainableSubsampling: _subsampling,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    nn.InstanceNorm2d: _group_norm,
    nn.LayerNorm: _group_norm,
    nn.ReLU: _activation("relu"),
    nn.Sigmoid: _activation("sigmoid"),
    nn.Tanh: _activation("tanh"),
    nn.LeakyReLU: _activation("leaky_relu", slope="negative_slope"),
    nn.ELU: _activation("elu", alpha="alpha"),
    nn.GELU: _activation("gelu"),
    nn.SiLU: _activation("silu"),
    ScaledTanh: _activation("scaled_tanh", amplitude="AMPLITUDE", slope="SLOPE"),
}
