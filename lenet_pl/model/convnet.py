"""One configurable convolutional network; LeNet and its variants are specifications of it."""

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
# The largest of some values stays the largest under these, so pooling first gives the same with a quarter of the work
MONOTONE = ("relu", "sigmoid", "tanh", "leaky_relu", "elu")
POOLINGS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
Number = TypeVar("Number", int, float)
MAX_PARAMETERS = 20_000_000  # a slip such as hidden=[60000] is refused before memory is taken


@dataclass(frozen=True)
class Stage:
    """Convolutions of one kernel size, then a pooling."""

    channels: list[int]
    kernel_size: int
    pool_size: int


class ConvNet(nn.Module):
    """Stages of convolution, normalisation, activation and pooling, then fully connected layers.

    Args:
        settings: the specification; `image_size` is the side of the images in px.
        channels: C of the images.
        classes: K.

    Raises:
        SettingError: a kernel or pool is larger than what reaches it, or the network is too large.

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
        widths = [stages[-1].channels[-1] * side * side, *settings.hidden, classes]
        _check_parameters(stages, channels, widths)

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        before = channels
        conv = 0
        for number, stage in enumerate(stages, 1):
            for after in stage.channels:
                conv += 1
                padding = stage.kernel_size // 2 if same else 0
                layers[f"conv{conv}"] = nn.Conv2d(before, after, stage.kernel_size, padding=padding)
                if settings.norm == "batch":
                    layers[f"norm{conv}"] = nn.BatchNorm2d(after)
                layers[f"activation{conv}"] = ACTIVATIONS[settings.activation]()
                before = after
            if stage.pool_size > 1:
                layers[f"pool{number}"] = POOLINGS[settings.pooling](stage.pool_size)
                if settings.pooling == "max" and settings.activation in MONOTONE:
                    layers.move_to_end(f"activation{conv}")
        self.features = nn.Sequential(layers)

        layers = OrderedDict(flatten=nn.Flatten())
        dropouts = _per_layer(settings.dropout, len(settings.hidden))
        for number, (width, after, dropout) in enumerate(zip(widths, widths[1:-1], dropouts, strict=False), 1):
            layers[f"linear{number}"] = nn.Linear(width, after)
            if settings.hidden_norm == "batch":
                layers[f"norm{number}"] = nn.BatchNorm1d(after)
            layers[f"activation{number}"] = ACTIVATIONS[settings.activation]()
            if dropout > 0:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(widths[-2], classes)
        self.classifier = nn.Sequential(layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images, float (B, C, H, W), to logits (B, K); the larger, the likelier."""
        return self.classifier(self.features(images))  # type: ignore[no-any-return]


def _per_layer(value: Number | list[Number], count: int) -> list[Number]:
    return value if isinstance(value, list) else [value] * count


def _check_sizes(stages: list[Stage], side: int, same: bool) -> int:
    """Follow the side of the image through the stages; return what is left of it."""
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
        f"model.image_size: images of {start}×{start} px are too small for this network, {layer} needs {what} and gets "
        f"{side}×{side} px; accepted is a larger image_size, or fewer or smaller stages"
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
            f"model: {total:,} parameters, of which {widths[0] * widths[1]:,} behind the flattening; accepted are at "
            f"most {MAX_PARAMETERS:,}"
        )
