"""Preprocessing whose resizing is exact integer arithmetic, the same in ONNX and in C."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.export.formats import ExportablePreprocess

Array = np.ndarray[Any, Any]
# Products of levels (8 bits), row weights and column weights stay below 2**24, so that float32 holds them exactly
WEIGHT_BITS = 12
ROW_BITS = 4  # bits of the rows between the two steps, after the point


class IntegerPreprocess(ExportablePreprocess):
    """`ExportablePreprocess` that resizes in exact integer arithmetic, to whole gray levels.

    The sums are the same in any order and on any machine, so that a program without floats has the same input.
    Levels differ from those of `Preprocess` by little more than the rounding.
    """

    def __init__(self, side: int, **preprocess: Any) -> None:
        super().__init__(side, **preprocess)
        if self.matrix is not None:
            self.matrix = torch.from_numpy(integer_weights(self.matrix.numpy())).float()

    def resize(self, images: Tensor) -> Tensor:
        """Scale uint8 (B, C, side, side) to float (B, C, H, W), multiples of 1/255 in [0, 1]."""
        if self.matrix is None:
            return super().resize(images)
        rows = torch.round(self.matrix @ images.float() * 2.0 ** (ROW_BITS - WEIGHT_BITS))
        return torch.round(rows @ self.matrix.T * 2.0 ** (-ROW_BITS - WEIGHT_BITS)) * (1 / 255)


def integer_weights(matrix: Array) -> Array:
    """Round the rows of an interpolation matrix to multiples of 2**-12 that add up to 1; integers of the same shape."""
    weights: Array = np.rint(matrix * 2**WEIGHT_BITS).astype(np.int64)
    rows = np.arange(len(weights))
    weights[rows, weights.argmax(1)] += 2**WEIGHT_BITS - weights.sum(1)
    return weights
