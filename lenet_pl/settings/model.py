"""Settings of the group `model`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lenet_pl.settings.types import Probability, Settings, Side, Width


class ConvNetSettings(Settings):
    """Specification of a `ConvNet`."""

    architecture: Literal["convnet"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]
    image_size: Side  # px, height and width
    channels: Annotated[list[Annotated[list[Width], Field(min_length=1)]], Field(min_length=1)]  # per stage, per conv
    kernel_size: Annotated[int, Field(ge=1, le=31)] | list[Annotated[int, Field(ge=1, le=31)]]  # px, or one per stage
    padding: Literal["valid", "same"]
    activation: Literal["relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "silu"]
    pooling: Literal["max", "average"]
    pool_size: Annotated[int, Field(ge=1, le=31)] | list[Annotated[int, Field(ge=1, le=31)]]  # px; 1: none; per stage
    norm: Literal["none", "batch"]  # after each convolution
    hidden: list[Annotated[int, Field(ge=1, le=65536)]]  # widths of the fully connected layers before the last
    hidden_norm: Literal["none", "batch"]
    dropout: Probability | list[Probability]  # after each hidden layer, or one per hidden layer

    @model_validator(mode="after")
    def _lists_have_one_entry_per_layer(self) -> "ConvNetSettings":
        for key, wanted in (("kernel_size", self.channels), ("pool_size", self.channels), ("dropout", self.hidden)):
            value = getattr(self, key)
            if isinstance(value, list) and len(value) != len(wanted):
                what = "hidden layers" if key == "dropout" else "stages"
                raise ValueError(
                    f"{key} has {len(value)} entries for {len(wanted)} {what}; give one number or one each"
                )
        if self.padding == "same" and any(k % 2 == 0 for k in _as_list(self.kernel_size)):
            raise ValueError(f"padding=same needs odd kernel_size, got {self.kernel_size}")
        return self


class LeNet1998Settings(Settings):
    """LeNet-5 as published; its sizes are the paper's."""

    architecture: Literal["lenet5_1998"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]
    image_size: Literal[32]  # px, height and width
    fan_in_exponent: Annotated[float, Field(ge=0, le=1)]  # initial weights: uniform in ±2.4 / inputs**exponent


class LeNet1Settings(Settings):
    """LeNet-1 as published; its sizes are the paper's."""

    architecture: Literal["lenet1"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+$")]
    image_size: Literal[28]  # px, height and width
    fan_in_exponent: Annotated[float, Field(ge=0, le=1)]  # initial weights: uniform in ±2.4 / inputs**exponent


AnyModelSettings = Annotated[ConvNetSettings | LeNet1Settings | LeNet1998Settings, Field(discriminator="architecture")]


def _as_list(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else [value]
