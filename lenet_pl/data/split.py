"""Reproducible splits into training, validation and test images."""

import torch
from torch import Tensor

from lenet_pl.errors import SettingError
from lenet_pl.settings import SplitSettings

SPLIT_SEED = 1998  # a constant, so that runs of all seeds have the same validation images


def split(labels: Tensor, settings: SplitSettings) -> tuple[Tensor, Tensor]:
    """Divide images into a training and a validation split, reproducibly for the same labels and settings.

    Args:
        labels: The class of each image, int64 of shape (N,).
        settings: The method and the size of the validation split.

    Returns:
        Ascending int64 indices of the training and of the validation images, which together contain each image once.

    Raises:
        SettingError: If one of the two would be empty.
    """
    total = len(labels)
    count = settings.val_size if isinstance(settings.val_size, int) else round(total * settings.val_size)
    if not 0 < count < total:
        raise SettingError(
            f"data.split.val_size: {settings.val_size} takes {count} of {total} training images; must be "
            f"1 to {total - 1} images, or a fraction that leaves at least one training and one validation image"
        )
    if settings.method == "stratified":
        return stratified_split(labels, count)
    order = torch.arange(total)
    if settings.method == "random":
        order = torch.randperm(total, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return order[: total - count].sort().values, order[total - count :].sort().values


def stratified_split(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Select `count` images with the class frequencies of the whole, to within one image per class.

    Args:
        labels: The class of each image, int64 of shape (N,).
        count: The number of images to select.

    Returns:
        Ascending int64 indices of the remaining and of the selected images.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    by_class = order[torch.sort(labels[order], stable=True).indices]
    sizes = torch.bincount(labels)
    exact = sizes.double() * count / len(labels)
    shares = exact.floor().long()
    largest = torch.sort(exact - shares, descending=True, stable=True).indices
    shares[largest[: count - int(shares.sum())]] += 1  # largest remainders first
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)[:-1]])
    rank = torch.arange(len(labels)) - starts.repeat_interleave(sizes)
    chosen = rank < shares.repeat_interleave(sizes)
    return by_class[~chosen].sort().values, by_class[chosen].sort().values
