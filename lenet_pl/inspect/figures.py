"""Pictures of findings, and mean images of the classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lenet_pl.artifacts.plots import LINE, draw_samples
from lenet_pl.display.figure import Figure
from lenet_pl.display.text import label
from lenet_pl.inspect.findings import KINDS, Finding, class_of
from lenet_pl.inspect.images import AllImages

CLASSES = 40  # mean images at most, of each split


def draw_findings(images: AllImages, findings: Sequence[Finding], total: int) -> Figure:
    """Draw the images of findings of one kind; a duplicate stands right of the image that it repeats.

    Args:
        images: All images.
        findings: The findings to draw, one or more.
        total: The number of findings of the kind.
    """
    names, shown, titles = images.names, [], []

    def add(index: int, text: str) -> None:
        shown.append(index)
        titles.append(f"{text}\n{images.split_name(index)} {label(str(names[index]), LINE - 6)}")

    for one in findings:
        given = label(class_of(images, one.index), LINE)
        if one.other is not None:
            add(one.other, label(class_of(images, one.other), LINE))
            add(one.index, f"{given}\n{one.score:.4f}")
        elif one.suggested is not None:
            add(one.index, f"{given}?\n{label(images.classes[one.suggested], LINE)}")
        else:
            add(one.index, f"{given}\n{one.score:.3g}")
    heading = f"{KINDS[findings[0].kind].lower()}: {len(findings)} of {total:,}"
    return draw_samples(images.take(torch.tensor(shown)), titles, heading)


def draw_mean_images(images: AllImages, means: Tensor) -> Figure:
    """Draw the mean image of each class, a row or more for each split.

    Args:
        images: All images.
        means: The mean images, float (S, K, C, H, W); NaN without images.
    """
    shown, titles = [], []
    for split, own in zip(images.splits, means, strict=True):
        for name, mean in list(zip(images.classes, own, strict=True))[:CLASSES]:
            shown.append(mean.nan_to_num(0).round().to(torch.uint8))
            titles.append(f"{label(name, LINE)}\n{split}")
    columns = min(len(images.classes), 10)
    return draw_samples(torch.stack(shown), titles, "mean images", columns)
