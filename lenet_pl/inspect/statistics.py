"""Counts, gray levels and mean images per class and split."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lenet_pl.inspect.images import AllImages

NOTICEABLE = 0.1 * 255  # gray levels; a pixel further from the median level of its image belongs to the object


@dataclass(frozen=True)
class Statistics:
    """Statistics of N images of K classes in S splits. Gray levels are from 0 to 255.

    Attributes:
        brightness: The mean level of each image over pixels and channels, float (N,).
        contrast: The standard deviation of the levels of each image, float (N,).
        content: The fraction of the pixels of each image that differ noticeably from its median level, float (N,).
        minimum: The lowest level of all images.
        maximum: The highest level of all images.
        mean_images: The mean image of each split and class, float (S, K, C, H, W); NaN without images.
        counts: The number of images of each split and class, int64 (S, K).
    """

    brightness: Tensor
    contrast: Tensor
    content: Tensor
    minimum: int
    maximum: int
    mean_images: Tensor
    counts: Tensor


def compute_statistics(images: AllImages) -> Statistics:
    """Compute the statistics in one pass over the images."""
    splits, classes = len(images.splits), len(images.classes)
    group = images.split_of * classes + images.labels
    counts = torch.bincount(group, minlength=splits * classes)
    sums = torch.zeros(splits * classes, *images.shape, dtype=torch.float64)
    brightness, contrast, content = torch.zeros(3, len(images))
    minimum, maximum = 255, 0
    for rows, pixels in images.blocks():
        flat = pixels.flatten(1).float()
        contrast[rows], brightness[rows] = torch.std_mean(flat, 1, correction=0)
        content[rows] = ((flat - flat.median(1, keepdim=True).values).abs() > NOTICEABLE).float().mean(1)
        minimum, maximum = min(minimum, int(pixels.min())), max(maximum, int(pixels.max()))
        sums.index_add_(0, group[rows], pixels.double())
    means = sums / counts.view(-1, 1, 1, 1)
    return Statistics(
        brightness,
        contrast,
        content,
        minimum,
        maximum,
        means.view(splits, classes, *images.shape),
        counts.view(splits, classes),
    )


def per_class(images: AllImages, found: Statistics) -> dict[str, dict[str, Any]]:
    """Summarize each class: its images by split, and mean and standard deviation of brightness and contrast."""
    table: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(images.classes):
        own = images.labels == k
        table[name] = {"images": dict(zip(images.splits, found.counts[:, k].tolist(), strict=True))}
        for what in ("brightness", "contrast"):
            std, mean = torch.std_mean(getattr(found, what)[own].double(), correction=0)
            table[name] |= {what: round(float(mean), 2), f"{what}_std": round(float(std), 2)}
    return table
