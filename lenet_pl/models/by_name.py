"""Networks by name, as in torchvision: the specifications of `conf/model/`, with random weights."""

from typing import Any

from lenet_pl.errors import SettingError
from lenet_pl.models.build import build_model
from lenet_pl.models.convnet import ConvNet
from lenet_pl.models.lenet1 import LeNet1
from lenet_pl.models.lenet5_1998 import LeNet5Original
from lenet_pl.plugins.registry import entries
from lenet_pl.settings import validate
from lenet_pl.settings.choices import list_choices, read_choice
from lenet_pl.settings.model import ModelSettings
from lenet_pl.settings.parts import Part

AnyModel = ConvNet | LeNet1 | LeNet5Original


def list_models() -> list[str]:
    """List the names of all networks, in alphabetical order."""
    return list_choices("model")


def get_model(name: str, num_classes: int = 10, in_channels: int = 1, **settings: Any) -> AnyModel:
    """Build a network by its name.

    Args:
        name: One of `list_models()`.
        num_classes: The number of classes, K.
        in_channels: The number of image channels, C: 1 for gray, 3 for color.
        **settings: Settings that replace those of `conf/model/<name>.yaml`, such as `image_size` or `dropout`.

    Raises:
        SettingError: If the name or a setting is unknown, a value is invalid, or the layers do not fit the image size.

    Example:
        >>> get_model("cnn3_bn", num_classes=47, image_size=28, dropout=0.2)
    """
    values = read_choice("model", name, {key: value for key, value in settings.items() if value is not None})
    architecture = values["architecture"]
    if architecture not in (known := entries("model")):
        raise SettingError(f"architecture: got {architecture!r}; must be one of {', '.join(known)}")
    given = validate(Part("model").class_of(architecture), values)
    assert isinstance(given, ModelSettings)
    network: Any = build_model(given, in_channels, num_classes)
    return network  # type: ignore[no-any-return]


def lenet1(num_classes: int = 10, in_channels: int = 1, **settings: Any) -> LeNet1:
    """Build LeNet-1 as published in 1990, for images of 28×28 px; arguments as for `get_model`."""
    return get_model("lenet1", num_classes, in_channels, **settings)  # type: ignore[return-value]


def lenet5_1998(num_classes: int = 10, in_channels: int = 1, **settings: Any) -> LeNet5Original:
    """Build LeNet-5 as published in 1998, for images of 32×32 px; arguments as for `get_model`."""
    return get_model("lenet5_1998", num_classes, in_channels, **settings)  # type: ignore[return-value]


def lenet5(num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any) -> ConvNet:
    """Build LeNet-5's sizes with ReLU and max pooling.

    Args:
        num_classes: The number of classes, K.
        in_channels: The number of image channels, C: 1 for gray, 3 for color.
        image_size: The height and width of the images in px; None for that of `conf/model/lenet5.yaml`.
        **settings: Other arguments of `ConvNet`, which replace those of the file.

    Raises:
        SettingError: If a setting is unknown, a value is invalid, or the layers do not fit the image size.

    Example:
        >>> lenet5(num_classes=10, in_channels=3, activation="tanh")
    """
    return _convnet("lenet5", num_classes, in_channels, image_size, settings)


def lenet5_bn(num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any) -> ConvNet:
    """Build `lenet5` with batch normalization after both convolutions; arguments as for `lenet5`."""
    return _convnet("lenet5_bn", num_classes, in_channels, image_size, settings)


def lenet_bn(num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any) -> ConvNet:
    """Build the wider LeNet with batch normalization and dropout; arguments as for `lenet5`."""
    return _convnet("lenet_bn", num_classes, in_channels, image_size, settings)


def lenet_sigmoid(
    num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any
) -> ConvNet:
    """Build `lenet5` with sigmoid, for images of 28×28 px without padding; arguments as for `lenet5`."""
    return _convnet("lenet_sigmoid", num_classes, in_channels, image_size, settings)


def lenet_sigmoid_avg(
    num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any
) -> ConvNet:
    """Build `lenet5` with sigmoid and average pooling, as in textbooks; arguments as for `lenet5`."""
    return _convnet("lenet_sigmoid_avg", num_classes, in_channels, image_size, settings)


def lenet_avg_dropout(
    num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any
) -> ConvNet:
    """Build `lenet5` with average pooling, and dropout before the last layer; arguments as for `lenet5`."""
    return _convnet("lenet_avg_dropout", num_classes, in_channels, image_size, settings)


def cnn_plain(num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any) -> ConvNet:
    """Build three stages of 5×5 convolutions and one linear layer; arguments as for `lenet5`."""
    return _convnet("cnn_plain", num_classes, in_channels, image_size, settings)


def cnn3_bn(num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any) -> ConvNet:
    """Build three 3×3 convolutions with batch normalization, and dropout; arguments as for `lenet5`."""
    return _convnet("cnn3_bn", num_classes, in_channels, image_size, settings)


def cnn5_bn(num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, **settings: Any) -> ConvNet:
    """Build five 3×3 convolutions with batch normalization, and one linear layer; arguments as for `lenet5`."""
    return _convnet("cnn5_bn", num_classes, in_channels, image_size, settings)


def _convnet(
    name: str, num_classes: int, in_channels: int, image_size: int | None, settings: dict[str, Any]
) -> ConvNet:
    network = get_model(name, num_classes, in_channels, image_size=image_size, **settings)
    assert isinstance(network, ConvNet)
    return network
