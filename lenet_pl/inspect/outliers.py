"""Nearly empty images, and images that are unusual for their class."""

from collections.abc import Callable

import torch
from torch import Tensor

from lenet_pl.inspect.duplicates import EMPTY
from lenet_pl.inspect.findings import Finding
from lenet_pl.inspect.images import AllImages
from lenet_pl.inspect.neighbors import Neighbors
from lenet_pl.inspect.statistics import Statistics

UNUSUAL = 3.5  # modified z-score above which a value is an outlier (Iglewicz and Hoaglin 1993)
FEW = 10  # images; a smaller class has no usual value


def modified_z_scores(values: Tensor) -> Tensor:
    """Compute 0.6745 (x - median) / MAD, where MAD is the median of the absolute deviations from the median.

    Where more than half of the values are equal, the MAD is 0 and the mean absolute deviation replaces it, times 1.2533
    instead of 1 / 0.6745.

    Args:
        values: Values of one class, float (N,).

    Returns:
        The scores, float64 (N,); zeros if all values are equal.
    """
    deviations = values.double() - values.double().quantile(0.5)
    mad = deviations.abs().quantile(0.5)
    scale = mad / 0.6745 if mad > 0 else 1.2533 * deviations.abs().mean()
    return deviations / scale if scale > 0 else torch.zeros_like(deviations)


def nearly_empty(found: Statistics) -> list[Finding]:
    """Find images in which less than 1% of the pixels differ noticeably from the median level, emptiest first."""
    indices = (found.content < EMPTY).nonzero()[:, 0]
    order = indices[found.content[indices].sort(stable=True).indices]
    return [Finding("nearly_empty", index, float(found.content[index])) for index in order.tolist()]


def unusual(kind: str, images: AllImages, values: Tensor, far: Callable[[Tensor], Tensor] = torch.abs) -> list[Finding]:
    """Find images whose value is an outlier of their class, by the modified z-score; the most unusual first.

    Args:
        kind: The kind of the findings.
        images: All images.
        values: A value of each image, float (N,).
        far: A function of the scores that is large for an outlier. By default in both directions.
    """
    scores = torch.zeros(len(images), dtype=torch.float64)
    for k in range(len(images.classes)):
        own = images.labels == k
        if own.sum() >= FEW:
            scores[own] = modified_z_scores(values[own])
    distance = far(scores)
    indices = (distance > UNUSUAL).nonzero()[:, 0]
    order = indices[distance[indices].sort(descending=True, stable=True).indices]
    return [Finding(kind, index, float(scores[index])) for index in order.tolist()]


def outliers(images: AllImages, neighbors: Neighbors) -> list[Finding]:
    """Find images whose most similar image is unusually far away for their class, on a logarithmic scale."""
    distances = (1 - neighbors.similarity).clamp(min=1e-6).log()
    return unusual("outlier", images, distances, far=lambda scores: scores)
