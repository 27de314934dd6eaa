"""Folds of a cross-validation: those of scikit-learn, shuffled with the seed of all splits."""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.split import SPLIT_SEED, split
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.settings import ArraysDataSettings, DataSettings, FoldSettings, SplitSettings

Groups = np.ndarray[Any, Any]


def hold_out(
    images: ImageDataset, data: DataSettings, classes: tuple[str, ...]
) -> tuple[Tensor, Tensor, Groups | None]:
    """Divide images into those of a fold and the others, stratified by class.

    They are the folds of scikit-learn's `StratifiedKFold(of, shuffle=True, random_state=SPLIT_SEED)`, or with groups of
    `StratifiedGroupKFold`, index by index.

    Args:
        images: All images of the cross-validation.
        data: The settings of the dataset, with `split.fold`.
        classes: The class names.

    Returns:
        Ascending int64 indices of the other images and of those of the fold; the group of each image, or None.

    Raises:
        SettingError: A class has fewer images than there are folds, or there are fewer groups.
        DataError: The groups are missing or do not fit the images.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    fold, labels = data.split.fold, images.labels.numpy()
    assert fold is not None
    groups = None if fold.group is None else read_groups(images, data, fold.group)
    if groups is None:
        _check_classes(labels, fold, classes)
        folds = StratifiedKFold(fold.of, shuffle=True, random_state=SPLIT_SEED).split(labels, labels)
    else:
        _check_groups(groups, fold)
        folds = StratifiedGroupKFold(fold.of, shuffle=True, random_state=SPLIT_SEED).split(labels, labels, groups)
    rest, held_out = list(folds)[fold.number - 1]
    if not len(held_out):
        raise SettingError(f"folds: got {fold.of}, which leaves fold {fold.number} without images; must be fewer")
    return torch.from_numpy(rest).long(), torch.from_numpy(held_out).long(), groups


def split_grouped(labels: Tensor, groups: Groups, settings: SplitSettings) -> tuple[Tensor, Tensor]:
    """Divide images into training and validation with each group in one of them, near the wanted size.

    The validation split is the first fold of `StratifiedGroupKFold` with as many folds as it fits into the whole.

    Args:
        labels: The class of each image, int64 (N,).
        groups: The group of each image, (N,).
        settings: The size of the validation split.

    Returns:
        Ascending int64 indices of the training and of the validation images.

    Raises:
        SettingError: There are fewer than two groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    wanted = len(split(labels, settings)[1])  # with its check of the size
    number = len(np.unique(groups))
    if number < 2:
        raise SettingError("folds_group: leaves one group for training and validation; must be two groups or more")
    count = min(max(2, round(len(labels) / wanted)), number)
    folds = StratifiedGroupKFold(count, shuffle=True, random_state=SPLIT_SEED)
    train, validation = next(iter(folds.split(labels.numpy(), labels.numpy(), groups)))
    return torch.from_numpy(train).long(), torch.from_numpy(validation).long()


def read_groups(images: ImageDataset, data: DataSettings, key: str) -> Groups:
    """Return the group of each image, of shape (N,).

    Args:
        images: The images.
        data: The settings of the dataset.
        key: For arrays the name of a file in their folder; for image files the text before which the names of a group
            are equal.
    """
    if isinstance(data, ArraysDataSettings):
        return _read_array(Path(data.path) / key, len(images))
    names = [PurePosixPath(str(name)).name for name in images.names]
    if not any(key in name for name in names):
        raise DataError(
            f"folds_group: got {key!r}, which no file name contains, such as {printable(names[0])}; must be text that "
            "ends the key of a group"
        )
    return np.array([name.partition(key)[0] for name in names])


def _check_classes(labels: Any, fold: FoldSettings, classes: tuple[str, ...]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < fold.of:
        few = int(counts.argmin())
        raise SettingError(
            f"folds: got {fold.of}, but {printable(classes[few])} has {counts[few]} images; must be at most "
            f"{max(counts[few], 2)}, or add images"
        )


def _check_groups(groups: Groups, fold: FoldSettings) -> None:
    if (count := len(np.unique(groups))) < fold.of:
        raise SettingError(
            f"folds: got {fold.of} for {count} groups of folds_group={fold.group}; must be at most {max(count, 2)}, "
            "or more groups"
        )


def _read_array(file: Path, images: int) -> Groups:
    try:
        groups: Groups = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"folds_group: {file} does not exist; must be a .npy file with a key per image") from None
    except (OSError, ValueError, EOFError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"folds_group: {file} is not a valid .npy file ({why})") from None
    if groups.shape != (images,) or groups.dtype.kind not in "iuSU":
        raise DataError(
            f"folds_group: {file} has {groups.dtype} of shape {groups.shape}; must be integers or text of shape "
            f"({images},), a key for each training image"
        )
    return groups
