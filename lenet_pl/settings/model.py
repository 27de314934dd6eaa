"""Settings of the group `model`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lenet_pl.plugins.registry import register_own
from lenet_pl.settings.parts import PLUGGED, Part
from lenet_pl.settings.types import ImageSize, LayerWidth, Probability, Settings

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]
WindowSize = Annotated[int, Field(ge=1, le=31)]


class ModelSettings(Settings):
    """The settings of every network."""

    architecture: str
    """Class of the network."""
    name: ModelName
    """Name of the network in results."""
    image_size: ImageSize
    """Height and width of the input in px."""


class ConvNetSettings(ModelSettings):
    """Specification of a `ConvNet`."""

    architecture: Literal["convnet"]
    """Class of the network."""
    name: ModelName
    """Name of the network in results."""
    image_size: ImageSize
    """Height and width of the input in px."""
    channels: Annotated[list[Annotated[list[LayerWidth], Field(min_length=1)]], Field(min_length=1)]
    """Output channels of each convolution, one list per stage."""
    kernel_size: WindowSize | list[WindowSize]
    """Kernel size of the convolutions in px, one number or one per stage."""
    padding: Literal["valid", "same"]
    """Padding of the convolutions; same: the size stays."""
    activation: Literal["relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "silu"]
    """Activation function after each layer but the last."""
    pooling: Literal["max", "avg", "strided_conv"]
    """Pooling at the end of each stage; strided_conv: a convolution with this stride."""
    pool_size: WindowSize | list[WindowSize]
    """Window of the pooling in px, one number or one per stage; 1: no pooling."""
    norm: Literal["none", "batch_norm", "layer_norm", "group_norm", "instance_norm"]
    """Normalization after each convolution."""
    hidden_sizes: list[Annotated[int, Field(ge=1, le=65536)]]
    """Widths of the fully connected layers before the last."""
    hidden_norm: Literal["none", "batch_norm", "layer_norm"]
    """Normalization after each hidden layer."""
    dropout: Probability | list[Probability]
    """Dropout probability after each hidden layer, one number or one per layer."""

    @model_validator(mode="after")
    def _check_one_entry_per_layer(self) -> "ConvNetSettings":
        per_layer = (("kernel_size", self.channels), ("pool_size", self.channels), ("dropout", self.hidden_sizes))
        for key, wanted in per_layer:
            value = getattr(self, key)
            if isinstance(value, list) and len(value) != len(wanted):
                what = "hidden layers" if key == "dropout" else "stages"
                raise ValueError(
                    f"{key} has {len(value)} entries for {len(wanted)} {what}; give one number or one each"
                )
        if self.padding == "same" and any(k % 2 == 0 for k in _as_list(self.kernel_size)):
            raise ValueError(f"padding=same needs odd kernel_size, got {self.kernel_size}")
        return self


class LeNet1998Settings(ModelSettings):
    """LeNet-5 as published; its sizes are the paper's."""

    architecture: Literal["lenet5_1998"]
    """Class of the network."""
    name: ModelName
    """Name of the network in results."""
    image_size: Literal[32]
    """Height and width of the input in px, as published."""
    fan_in_exponent: Annotated[float, Field(ge=0, le=1)]
    """Exponent of the fan-in in the range of the initial weights, uniform in ±2.4 / fan_in**exponent."""


class LeNet1Settings(ModelSettings):
    """LeNet-1 as published; its sizes are the paper's."""

    architecture: Literal["lenet1"]
    """Class of the network."""
    name: ModelName
    """Name of the network in results."""
    image_size: Literal[28]
    """Height and width of the input in px, as published."""
    fan_in_exponent: Annotated[float, Field(ge=0, le=1)]
    """Exponent of the fan-in in the range of the initial weights, uniform in ±2.4 / fan_in**exponent."""


AnyModelSettings = Annotated[ModelSettings, Part("model")]
PLUGGED["model"] = ModelSettings
register_own("model", "convnet", "lenet_pl.models.convnet:ConvNet", ConvNetSettings)
register_own("model", "lenet1", "lenet_pl.models.lenet1:LeNet1", LeNet1Settings)
register_own("model", "lenet5_1998", "lenet_pl.models.lenet5_1998:LeNet5Original", LeNet1998Settings)


def _as_list(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]
