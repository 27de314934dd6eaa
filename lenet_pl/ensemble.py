"""Several networks, or several views of an image, asked for one answer: the mean of their probabilities."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.data.image_set import ImageSet
from lenet_pl.errors import SettingError
from lenet_pl.settings.evaluate import ViewSettings
from lenet_pl.trained import TrainedRun


def refuse_strangers(runs: Sequence[TrainedRun], part: str) -> None:
    """Raise SettingError unless all networks can be asked about the same images.

    Args:
        runs: the networks.
        part: of the data that they will be asked about.
    """
    first = runs[0]
    if twice := next((run.folder for k, run in enumerate(runs) if run.folder in [r.folder for r in runs[:k]]), None):
        raise SettingError(f"run: got {twice} twice; accepted is a list of different runs")
    for other in runs[1:]:
        if other.classes != first.classes or other.channels != first.channels:
            raise SettingError(
                f"run: {other.folder} has other classes or channels than {first.folder}; accepted are networks "
                "for the same images"
            )
        # What one left out to be judged on, another may have learned from
        if part == "validation" and other.settings.data.model_dump() != first.settings.data.model_dump():
            raise SettingError(
                f"run: {other.folder} was trained on another part of the data than {first.folder}; accepted with "
                "part=validation are runs of one split"
            )


def ask(runs: Sequence[TrainedRun], images: Tensor, views: ViewSettings) -> Tensor:
    """Classify images by the mean probability over all networks and all views.

    Args:
        runs: the networks.
        images: uint8 (N, C, h, w).
        views: which views of each image are shown.

    Returns:
        Float (N, K): the network's logits where one is asked about one view, else logarithms of probabilities.
    """
    answers = [run.logits(view) for run in runs for view in show(images, views, round(255 * run.to_input.background))]
    if len(answers) == 1:
        return answers[0]
    return torch.stack([functional.log_softmax(one, 1) for one in answers]).logsumexp(0) - math.log(len(answers))


def count_trained_on(runs: Sequence[TrainedRun], images: ImageSet) -> int | None:
    """Count the images that one of the networks was trained on, and print a note if there are any.

    Args:
        runs: the networks.
        images: that they are judged on.

    Returns:
        None where no run has recorded what it was trained on, or the images are published ones.
    """
    known = [mask for run in runs if (mask := run.trained_on(images)) is not None]
    if not known:
        return None
    count = int(torch.stack(known).any(0).sum())
    if count:
        whom = "the network" if len(runs) == 1 else "one of the networks"
        print(f"note: {whom} was trained on {count:,} of these {len(images):,} images; figures for new ones are lower")
    return count


def identity_of_all(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """Say which networks they are, as plain JSON values."""
    names = sorted({f"{run.settings.model.name} on {run.settings.data.name}" for run in runs})
    return {"name": f"{len(runs)} networks, {', '.join(names)}", "runs": [run.identity() for run in runs]}


def show(images: Tensor, views: ViewSettings, background: int) -> Iterator[Tensor]:
    """Make views of images, each uint8 (N, C, h, w): the images first, moved by whole px, then the same mirrored."""
    height, width = images.shape[2:]
    padded = functional.pad(images, [views.shift] * 4, value=background)
    steps = sorted(range(-views.shift, views.shift + 1), key=abs)
    for mirrored in (False, True) if views.mirror else (False,):
        for down in steps:
            for right in steps:
                top, left = views.shift - down, views.shift - right
                view = padded[:, :, top : top + height, left : left + width]
                yield view.flip(3) if mirrored else view
