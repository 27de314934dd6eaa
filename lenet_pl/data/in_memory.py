"""Datasets of the caller: arrays, tensors or torch datasets for one or more splits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.split import stratified_split
from lenet_pl.data.torch_dataset import dataset_from_arrays, dataset_from_torch
from lenet_pl.errors import DataError


def splits_from_objects(
    data: Any,
    *,
    name: str = "images",
    classes: Sequence[str] | None = None,
    background: int = 0,
    test_fraction: float = 0.15,
) -> DatasetSplits:
    """Make a dataset of images that are in memory.

    Args:
        data: A pair of arrays or tensors (images, labels) or a map-style torch `Dataset`; or two of them, training and
            test images; or three: training, validation and test images.
        name: The name of the dataset in results.
        classes: The class names, in the order of the labels; None for the attribute `classes` of a torch dataset, or
            the label numbers.
        background: The gray level around the object, from 0 to 255.
        test_fraction: The fraction of each class that becomes the test split, if there are no test images.

    Raises:
        DataError: If images or labels are unsuitable. The message names the split and what to do.
    """
    given = list(data) if isinstance(data, tuple | list) and not _is_pair(data) else [data]
    if not 1 <= len(given) <= 3:
        raise DataError(
            f"data: got {len(given)} parts; must be training and test images, optionally validation between"
        )
    words = {1: ("training",), 2: ("training", "test"), 3: ("training", "validation", "test")}[len(given)]
    parts = [_read(part, word) for part, word in zip(given, words, strict=True)]
    names = tuple(classes or _class_names(given[0]) or map(str, range(int(parts[0].labels.max()) + 1)))
    _check_splits(parts, words, names)
    if len(parts) == 1:
        if not 0 < test_fraction < 1:
            raise DataError(f"test_fraction: got {test_fraction}; must be greater than 0 and less than 1")
        train, test = stratified_split(parts[0].labels, max(1, round(len(parts[0]) * test_fraction)))
        parts = [parts[0].subset(train), parts[0].subset(test)]
    validation = parts[1] if len(parts) == 3 else None
    return DatasetSplits(name, parts[0], parts[-1], names, background=background, validation=validation)


def _is_pair(data: tuple[Any, ...] | list[Any]) -> bool:
    """Whether data are (images, labels) instead of several datasets."""
    return len(data) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in data)


def _read(part: Any, word: str) -> ImageDataset:
    if isinstance(part, ImageDataset):
        return part
    if isinstance(part, tuple | list) and len(part) == 2 and isinstance(part[0], Tensor | np.ndarray):
        return dataset_from_arrays(part[0], part[1], word)
    return dataset_from_torch(part, word)


def _class_names(dataset: Any) -> list[str] | None:
    """Return the attribute `classes` of a torch dataset, or of the one of which it is a subset."""
    while dataset is not None and not hasattr(dataset, "classes"):
        dataset = getattr(dataset, "dataset", None)
    names = getattr(dataset, "classes", None)
    return [str(name) for name in names] if isinstance(names, list | tuple) else None


def _check_splits(parts: Sequence[ImageDataset], words: Sequence[str], names: tuple[str, ...]) -> None:
    """Check that labels are 0 to K-1 and that all parts have the same classes and image shapes."""
    shape, known = parts[0].array.shape[1:], set(parts[0].labels.tolist())
    if missing := sorted(set(range(len(names))) - known):
        raise DataError(
            f"training: got labels {min(known)} to {max(known)} without {', '.join(map(str, missing[:5]))}; must be 0 "
            f"to {len(known) - 1} for {len(known)} classes: renumber with numpy.unique(labels, return_inverse=True)"
        )
    if strange := sorted(known - set(range(len(names)))):
        raise DataError(f"training: got label {strange[0]} for {len(names)} class names; must be one name per class")
    if len(names) < 2:
        raise DataError("training: got one class; must be two or more")
    for part, word in zip(parts[1:], words[1:], strict=True):
        if part.array.shape[1:] != shape:
            raise DataError(
                f"{word}: got images of shape {tuple(part.array.shape[1:])}; must be {tuple(shape)} as for training"
            )
        if strange := sorted(set(part.labels.tolist()) - known):
            raise DataError(
                f"{word}: got label {strange[0]}, of which there is no training image; must be 0 to {max(known)}"
            )
