"""Batches, the contract between the data and the task.

Letters in shapes throughout the package: B images in a batch, N images in a dataset, C channels, H height and W width
in px, K classes.
"""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Preprocessed images with their labels.

    Attributes:
        images: Normalized images, float (B, C, H, W).
        labels: Class indices from 0 to K-1, int64 (B,).
        loss_scale: Factor for the mean loss of this rank, so that every image of the global batch counts the same. It
            is 1 unless ranks have different numbers of images.
    """

    images: Tensor
    labels: Tensor
    loss_scale: float = 1.0
