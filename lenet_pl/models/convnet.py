"""A configurable convolutional network, of which LeNet and its variants are configurations."""

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from lenet_pl.errors import SettingError
from lenet_pl.settings import ConvNetSettings

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

    Args:
        settings: The specification of the network. Images are `image_size` px high and wide.
        channels: The number of image channels, C.
        classes: The number of classes, K.

    Raises:
        SettingError: If a kernel or pooling window is larger than its input, or the network is too large.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.B, for the shape.
    """

    def __init__(self, settings: ConvNetSettings, channels: int, classes: int) -> None:
        super().__init__()
        self.image_size, self.channels, self.classes = settings.image_size, channels, classes
        stages = [Stage(*row) for row in zip(
            settings.channels,
            _per_layer(settings.kernel_size, len(settings.channels)),
            _per_layer(settings.pool_size, len(settings.channels)),
            strict=True,
        )]  # fmt: skip
        same = settings.padding == "same"
        side = _check_sizes(stages, settings.image_size, same)
        widths = [stages[-1].channels[-1] * side * side, *settings.hidden_sizes, classes]
        _check_parameters(stages, channels, widths)

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = channels
        conv = 0
        for number, stage in enumerate(stages, 1):
            for after in stage.channels:
                conv += 1
                padding = stage.kernel_size // 2 if same else 0
                layers[f"conv{conv}"] = nn.Conv2d(before, after, stage.kernel_size, padding=padding)
                if settings.norm == "batch_norm":
                    layers[f"norm{conv}"] = nn.BatchNorm2d(after)
                layers[f"activation{conv}"] = ACTIVATIONS[settings.activation]()
                before = after
            if stage.pool_size > 1:
                layers[f"pool{number}"] = POOLINGS[settings.pooling](stage.pool_size)
                if settings.pooling == "max" and settings.activation in MONOTONE:
                    layers.move_to_end(f"activation{conv}")
        self.features = nn.Sequential(layers)

        layers = OrderedDict(flatten=nn.Flatten())
        dropouts = _per_layer(settings.dropout, len(settings.hidden_sizes))
        for number, (width, after, dropout) in enumerate(zip(widths, widths[1:-1], dropouts, strict=False), 1):
            layers[f"linear{number}"] = nn.Linear(width, after)
            if settings.hidden_norm == "batch_norm":
                layers[f"norm{number}"] = nn.BatchNorm1d(after)
            layers[f"activation{number}"] = ACTIVATIONS[settings.activation]()
            if dropout > 0:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(widths[-2], classes)
        self.classifier = nn.Sequential(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images, float of shape (B, C, H, W), to logits of shape (B, K)."""
        return self.classifier(self.features(images))  # type: ignore[no-any-return]


def _per_layer(value: Number | list[Number], count: int) -> list[Number]:
    return value if isinstance(value, list) else [value] * count


def _check_sizes(stages: list[Stage], side: int, same: bool) -> int:
    """Return the side of the feature maps after all stages in px, or raise SettingError if a layer does not fit."""
    start, conv = side, 0
    for number, stage in enumerate(stages, 1):
        for _ in stage.channels:
            conv += 1
            if not same and stage.kernel_size > side:
                raise _too_small(f"conv{conv}", f"a {stage.kernel_size}×{stage.kernel_size} kernel", side, start)
            side = side if same else side - stage.kernel_size + 1
        if stage.pool_size > side:
            raise _too_small(f"pool{number}", f"a {stage.pool_size}×{stage.pool_size} window", side, start)
        side //= stage.pool_size
    return side


def _too_small(layer: str, what: str, side: int, start: int) -> SettingError:
    return SettingError(
        f"model.image_size: {start}×{start} px is too small for this network: {layer} has {what} but an input of "
        f"{side}×{side} px; use a larger image_size, or fewer or smaller stages"
    )


def _check_parameters(stages: list[Stage], channels: int, widths: list[int]) -> None:
    total, before = 0, channels
    for stage in stages:
        for after in stage.channels:
            total += after * (before * stage.kernel_size**2 + 1)
            before = after
    total += sum(after * (width + 1) for width, after in itertools.pairwise(widths))
    if total > MAX_PARAMETERS:
        raise SettingError(
            f"model: got {total:,} parameters, of which {widths[0] * widths[1]:,} in the first fully connected layer; "
            f"must be at most {MAX_PARAMETERS:,}"
        )
