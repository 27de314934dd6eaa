"""The layers of a quantized network in integers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class MaxPool:
    """Max pooling of each channel, without padding."""

    window: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True)
class Table:
    """A function of one value, such as an activation: uint8 (1, 256), or (C, 256) with one row per channel."""

    values: Array


@dataclass(frozen=True)
class Layer:
    """A convolution or fully connected layer, followed by what happens to each of its channels.

    The output of channel c is round((bias[c] + Σ (x - zero)·weights[c]) · scale[c]) + out_zero, clamped to uint8.

    Attributes:
        name: The name of the node.
        weights: int8 (O, I, h, w), or (O, I) of a fully connected layer.
        bias: int32 (O,).
        scale: float32 (O,).
        zero: The zero point of the input.
        out_zero: The zero point of the output; None for the last layer, whose logits are the scaled sums.
        groups: The number of groups of channels.
        stride: The vertical and the horizontal stride.
        pads: The margin at the top, left, bottom and right.
        channelwise: The poolings and tables after the layer.
    """

    name: str
    weights: Array
    bias: Array
    scale: Array
    zero: int
    out_zero: int | None
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    channelwise: tuple[MaxPool | Table, ...] = ()
