"""Ensembles and test-time augmentation (TTA): predictions averaged over several networks or copies of an image."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.errors import SettingError
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.inference.tta import augmented_copies
from lenet_pl.settings.evaluate import TtaSettings


def check_runs_compatible(runs: Sequence[TrainedRun], part: str, *, own_data: bool = True) -> None:
    """Check that the networks of an ensemble can be evaluated on the same images.

    Args:
        runs: The networks; at least one.
        part: The split for the evaluation, "test" or "validation".
        own_data: Whether the images are those of the first run, not those of another dataset.

    Raises:
        SettingError: A run is given twice, classes or channels differ, or, for "validation", the runs were trained on
            different data or splits, or, for "test", on different folds of their own data.
    """
    first = runs[0]
    if twice := next((run.folder for k, run in enumerate(runs) if run.folder in [r.folder for r in runs[:k]]), None):
        raise SettingError(f"run: got {twice} twice; must be a list of different runs")
    for other in runs[1:]:
        if other.classes != first.classes or other.channels != first.channels:
            raise SettingError(
                f"run: {other.folder} has other classes or channels than {first.folder}; must be networks with the "
                "same classes and channels"
            )
        # A test image of one fold is a training image of the others
        if own_data and other.settings.data.split.fold != first.settings.data.split.fold:
            raise SettingError(
                f"run: {other.folder} was trained on the test images of {first.folder}, another fold; must be runs of "
                "one fold, or another dataset with data=<choice>"
            )
        # A validation image of one run may be a training image of another
        if part == "validation" and other.settings.data.model_dump() != first.settings.data.model_dump():
            raise SettingError(
                f"run: {other.folder} was trained on another split of the data than {first.folder}; must be runs with "
                "the same settings of data for split=val"
            )


def ensemble_logits(runs: Sequence[TrainedRun], images: Tensor, views: TtaSettings) -> Tensor:
    """Classify images by the mean probability over all networks and all copies.

    The cost is the number of networks times the number of copies.

    Args:
        runs: The networks; at least one.
        images: Images as stored, uint8 (N, C, h, w).
        views: The settings of test-time augmentation.

    Returns:
        Float (N, K), on the CPU. For one network and one copy, its logits. Otherwise the logarithms of the mean
        probabilities, which are not comparable with the logits of a single network: each row is normalized, so that its
        softmax returns the mean probabilities, while logits are only defined up to a constant per image.
    """
    answers = [
        run.predict_logits(view)
        for run in runs
        for view in augmented_copies(images, views, round(255 * run.preprocess.background))
    ]
    if len(answers) == 1:
        return answers[0]
    return torch.stack([functional.log_softmax(one, 1) for one in answers]).logsumexp(0) - math.log(len(answers))


def count_trained_on(runs: Sequence[TrainedRun], images: ImageDataset) -> int | None:
    """Count the images on which at least one of the networks was trained, and print a note if there are any.

    Args:
        runs: The networks.
        images: The images of the evaluation.

    Returns:
        The number of images; None if no run has a record of its training images, or if the images are from a published
        dataset.
    """
    known = [mask for run in runs if (mask := run.trained_on(images)) is not None]
    if not known:
        return None
    count = int(torch.stack(known).any(0).sum())
    if count:
        whom = "the network" if len(runs) == 1 else "a network"
        print(f"note: {whom} was trained on {count:,} of these {len(images):,} images, so the metrics are optimistic")
    return count


def describe_runs(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """Identify the networks of an ensemble: `name` and `runs` (one `TrainedRun.describe` each), plain JSON values."""
    names = sorted({f"{run.settings.model.name} on {run.settings.data.name}" for run in runs})
    return {"name": f"{len(runs)} networks, {', '.join(names)}", "runs": [run.describe() for run in runs]}
