"""What flows from the data to the model.

Letters used for shapes everywhere: B images in a batch, N images in a set, C channels, H height and W width in px,
K classes.
"""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Images ready for the model, with their classes."""

    images: Tensor  # float (B, C, H, W), normalised
    labels: Tensor  # int64 (B,), 0 to K-1
    weight: float = 1.0  # of its mean among those of all ranks: 1, or a little else where the ranks have unequal shares
