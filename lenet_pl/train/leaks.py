"""Images on which a teacher was trained although the student is judged by them."""

import torch

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.loaded_data import LoadedData, split_source
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.settings import DataSettings

NOT_THE_IMAGES = {"split", "resize_mode", "root", "download"}  # settings of a published dataset


def count_leaked(run: TrainedRun, data: LoadedData, settings: DataSettings) -> dict[str, int | None]:
    """Count the validation and test images on which a network was trained.

    A run on the user's own images has recorded their digests. Of a published dataset, the split follows from the
    settings.

    Args:
        run: The network.
        data: The images that may be among its training images.
        settings: The settings of their dataset.

    Returns:
        The numbers for "validation" and "test"; None if unknown, as for another dataset.
    """
    parts = {"validation": data.validation_set, "test": data.test_set}
    if data.train_set.origin is not None:
        masks = {name: run.trained_on(images) for name, images in parts.items()}
        return {name: None if mask is None else int(mask.sum()) for name, mask in masks.items()}
    ours, theirs = (one.model_dump(exclude=NOT_THE_IMAGES) for one in (settings, run.settings.data))
    if ours != theirs:
        return dict.fromkeys(parts)
    trained = split_source(data.source, run.settings.data).train_set
    return {name: count_common(trained, images) for name, images in parts.items()}


def count_common(some: ImageDataset, others: ImageDataset) -> int:
    """Count the images of two splits that are the same rows of one array."""
    if some.array is not others.array:
        return 0
    every = torch.arange(len(some.array))
    rows = [every if one.rows is None else one.rows for one in (some, others)]
    return int(torch.isin(rows[1], rows[0]).sum())
