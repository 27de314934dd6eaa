"""A configurable convolutional network, of which LeNet and its variants are configurations."""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.settings import ConvNetSettings, validate

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
# Max pooling commutes with increasing activations, so pooling first gives the same result with a quarter of the work
MONOTONE = ("relu", "sigmoid", "tanh", "leaky_relu", "elu")
POOLINGS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
Number = TypeVar("Number", int, float)
MAX_PARAMETERS = 20_000_000  # rejects a mistake such as hidden_sizes=[60000] before memory is allocated


@dataclass(frozen=True)
class Stage:
    """Convolutions of one kernel size, followed by pooling."""

    channels: list[int]
    kernel_size: int
    pool_size: int


class ConvNet(nn.Module):
    """Network with stages of convolution, normalization, activation and pooling, followed by fully connected layers.

    The defaults are the sizes of LeNet-5. What holds for each argument also holds for the setting of the same name.

    Args:
        channels: The output channels of each convolution, one list per stage.
        kernel_size: The kernel size of the convolutions in px, one number or one per stage.
        padding: "valid", or "same" to keep the size of the feature maps.
        activation: "relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu" or "silu".
        pooling: "max", "avg" or "strided_conv", at the end of each stage. The last one is a convolution with its stride
            as its kernel size, followed by normalization and activation.
        pool_size: The window of the pooling in px, one number or one per stage; 1 for no pooling.
        norm: The normalization after each convolution, "none", "batch_norm", "layer_norm", "group_norm" or
            "instance_norm"; see `build_norm`.
        hidden_sizes: The widths of the fully connected layers before the last.
        hidden_norm: The normalization after each hidden layer, "none", "batch_norm" or "layer_norm".
        dropout: The dropout probability after each hidden layer, one number or one per layer.
        num_classes: The number of classes, K.
        in_channels: The number of image channels, C: 1 for gray, 3 for color.
        image_size: The height and width of the images in px.

    Raises:
        SettingError: If an argument is invalid, a kernel or pooling window is larger than its input, or the network is
            too large.

    Example:
        >>> network = ConvNet(channels=[[8], [16, 16]], kernel_size=3, padding="same", norm="batch_norm")
        >>> network(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 10])

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B, for the shape.
    """

    def __init__(
        self,
        *,
        channels: Sequence[Sequence[int]] = ((6,), (16,)),
        kernel_size: int | Sequence[int] = 5,
        padding: str = "valid",
        activation: str = "relu",
        pooling: str = "max",
        pool_size: int | Sequence[int] = 2,
        norm: str = "none",
        hidden_sizes: Sequence[int] = (120, 84),
        hidden_norm: str = "none",
        dropout: float | Sequence[float] = 0,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 32,
    ) -> None:
        super().__init__()
        self.image_size, self.channels, self.classes = image_size, in_channels, num_classes
        values = {
            "channels": channels,
            "kernel_size": kernel_size,
            "padding": padding,
            "activation": activation,
            "pooling": pooling,
            "pool_size": pool_size,
            "norm": norm,
            "hidden_sizes": hidden_sizes,
            "hidden_norm": hidden_norm,
            "dropout": dropout,
            "image_size": image_size,
        }
        plain = {key: _as_lists(value) for key, value in values.items()}
        settings = validate(ConvNetSettings, {"architecture": "convnet", "name": "convnet", **plain})
        stages = [Stage(*row) for row in zip(
            settings.channels,
            _per_layer(settings.kernel_size, len(settings.channels)),
            _per_layer(settings.pool_size, len(settings.channels)),
            strict=True,
        )]  # fmt: skip
        same = settings.padding == "same"
        side = _check_sizes(stages, settings.image_size, same, settings.norm)
        widths = [stages[-1].channels[-1] * side * side, *settings.hidden_sizes, num_classes]
        strided = settings.pooling == "strided_conv"
        _check_parameters(stages, in_channels, widths, strided=strided)

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = in_channels
        conv = 0
        for number, stage in enumerate(stages, 1):
            for after in stage.channels:
                conv += 1
                margin = stage.kernel_size // 2 if same else 0
                layers[f"conv{conv}"] = nn.Conv2d(before, after, stage.kernel_size, padding=margin)
                if settings.norm != "none":
                    layers[f"norm{conv}"] = build_norm(settings.norm, after)
                layers[f"activation{conv}"] = ACTIVATIONS[settings.activation]()
                before = after
            if stage.pool_size > 1 and strided:
                layers[f"pool{number}"] = _strided_conv(before, stage.pool_size, settings)
            elif stage.pool_size > 1:
                layers[f"pool{number}"] = POOLINGS[settings.pooling](stage.pool_size)
                if settings.pooling == "max" and settings.activation in MONOTONE:
                    layers.move_to_end(f"activation{conv}")
        self.features = nn.Sequential(layers)

        layers = OrderedDict(flatten=nn.Flatten())
        dropouts = _per_layer(settings.dropout, len(settings.hidden_sizes))
        for number, (width, after, dropout) in enumerate(zip(widths, widths[1:-1], dropouts, strict=False), 1):
            layers[f"linear{number}"] = nn.Linear(width, after)
            if settings.hidden_norm != "none":
                kind = nn.BatchNorm1d if settings.hidden_norm == "batch_norm" else nn.LayerNorm
                layers[f"norm{number}"] = kind(after)
            layers[f"activation{number}"] = ACTIVATIONS[settings.activation]()
            if dropout > 0:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(widths[-2], num_classes)
        self.classifier = nn.Sequential(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images, float of shape (B, C, H, W), to logits of shape (B, K)."""
        return self.classifier(self.features(images))  # type: ignore[no-any-return]


def build_norm(name: str, channels: int) -> nn.Module:
    """Build a normalization of feature maps, each with a scale and a shift per channel.

    Args:
        name: What mean and variance are computed over: "batch_norm", each channel of the batch; "layer_norm", each
            image; "group_norm", each of up to 32 groups of at least two channels of an image; "instance_norm", each
            channel of an image.
        channels: The number of channels.

    Source: Wu and He 2018, "Group normalization", figure 2, for the last three.
    """
    if name == "batch_norm":
        return nn.BatchNorm2d(channels)
    if name == "instance_norm":
        return nn.InstanceNorm2d(channels, affine=True)
    return nn.GroupNorm(1 if name == "layer_norm" else num_groups(channels), channels)


def num_groups(channels: int) -> int:
    """Return the number of groups of group normalization: the largest divisor up to 32 with two channels each."""
    return max(count for count in range(1, 33) if channels % count == 0 and (count == 1 or channels >= 2 * count))


def _strided_conv(channels: int, stride: int, settings: ConvNetSettings) -> nn.Sequential:
    """Build what replaces a pooling layer. Source: Springenberg et al. 2015, "Striving for simplicity", section 2."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(channels, channels, stride, stride))
    if settings.norm != "none":
        layers["norm"] = build_norm(settings.norm, channels)
    layers["activation"] = ACTIVATIONS[settings.activation]()
    return nn.Sequential(layers)


def _as_lists(value: Any) -> Any:
    """Convert nested sequences to lists, the only sequences in settings."""
    return [_as_lists(entry) for entry in value] if isinstance(value, tuple | list) else value


def _per_layer(value: Number | list[Number], count: int) -> list[Number]:
    return value if isinstance(value, list) else [value] * count


def _check_sizes(stages: list[Stage], side: int, same: bool, norm: str) -> int:
    """Return the side of the feature maps after all stages in px, or raise SettingError if a layer does not fit."""
    start, conv = side, 0
    for number, stage in enumerate(stages, 1):
        for _ in stage.channels:
            conv += 1
            if not same and stage.kernel_size > side:
                raise _too_small(f"conv{conv}", f"a {stage.kernel_size}×{stage.kernel_size} kernel", side, start)
            side = side if same else side - stage.kernel_size + 1
            if norm == "instance_norm" and side == 1:
                raise SettingError(
                    f"model.norm: got {norm}, but conv{conv} has a single output per channel; must be another"
                )
        if stage.pool_size > side:
            raise _too_small(f"pool{number}", f"a {stage.pool_size}×{stage.pool_size} window", side, start)
        side //= stage.pool_size
    return side


def _too_small(layer: str, what: str, side: int, start: int) -> SettingError:
    return SettingError(
        f"model.image_size: {start}×{start} px is too small for this network: {layer} has {what} but an input of "
        f"{side}×{side} px; use a larger image_size, or fewer or smaller stages"
    )


def _check_parameters(stages: list[Stage], channels: int, widths: list[int], *, strided: bool) -> None:
    total, before = 0, channels
    for stage in stages:
        for after in stage.channels:
            total += after * (before * stage.kernel_size**2 + 1)
            before = after
        total += before * (before * stage.pool_size**2 + 1) if strided and stage.pool_size > 1 else 0
    total += sum(after * (width + 1) for width, after in itertools.pairwise(widths))
    if total > MAX_PARAMETERS:
        raise SettingError(
            f"model: got {total:,} parameters, of which {widths[0] * widths[1]:,} in the first fully connected layer; "
            f"must be at most {MAX_PARAMETERS:,}"
        )
