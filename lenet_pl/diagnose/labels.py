"""Whether labels fit the images: the labels of each image and of the images that are most similar to it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

THUMBNAIL = 14  # px; finer detail hardly changes which images are similar
NEIGHBORS = 10  # similar images of each image; a mean over them varies less than the nearest one
LARGEST = 1 - 1e-9  # of the noise that is solved for
SURE = 3.0  # standard deviations; one in 700 datasets without any relation passes by chance


@dataclass(frozen=True)
class LabelAgreement:
    """How often similar images have the same label.

    Attributes:
        images: The number of images.
        agreement: The fraction of the images whose most similar image has the same label.
        chance: The same if labels had nothing to do with the images.
        above_chance: The difference, in standard deviations of chance.
        noise: The estimated fraction of labels that are replaced by others at random.
        evenness: How evenly differing pairs are spread over the pairs of classes, from 0 to 1; wrong labels drawn at
            random are spread evenly, while classes that look alike concentrate them.
    """

    images: int
    agreement: float
    chance: float
    above_chance: float
    noise: float
    evenness: float

    @property
    def random(self) -> bool:
        """Whether labels seem to have nothing to do with the images."""
        return self.above_chance < SURE


def measure_labels(images: Tensor, labels: Tensor, num_classes: int) -> LabelAgreement:
    """Compare the label of each image with those of the most similar images.

    Args:
        images: The images, uint8 (N, C, H, W), more than `NEIGHBORS`.
        labels: Their classes, int64 (N,).
        num_classes: The number of classes, K.
    """
    vectors = _thumbnails(images)
    similarity = vectors @ vectors.T
    similarity.fill_diagonal_(-math.inf)
    near = labels[similarity.topk(NEIGHBORS).indices]
    same = (near == labels[:, None]).sum(1).double()
    share = torch.bincount(labels, minlength=num_classes).double() / len(labels)
    chance = float(share.square().sum())
    pairs, triples = same.mean() / NEIGHBORS, (same * (same - 1)).mean() / (NEIGHBORS * (NEIGHBORS - 1))
    agreement = float((labels == near[:, 0]).double().mean())
    deviation = math.sqrt(chance * (1 - chance) / len(labels)) or math.inf
    return LabelAgreement(
        len(labels),
        agreement,
        chance,
        (agreement - chance) / deviation,
        estimate_noise(float(pairs), float(triples), num_classes),
        _evenness(labels, near[:, 0], share),
    )


def estimate_noise(pairs: float, triples: float, classes: int) -> float:
    """Estimate the fraction of labels that were replaced by one of the other classes, each with equal probability.

    Source: Zhu, Song and Liu 2021, "Clusterability as an alternative to anchor points when learning with noisy labels",
    whose consensus of neighbors is used for noise of this one kind. A part of the images may have neighbors of any
    class; it cancels in the ratio.

    Args:
        pairs: The fraction of pairs of similar images with the same label.
        triples: The fraction of images and two similar ones of which all three have the same label.
        classes: The number of classes, K.
    """
    if pairs <= 1 / classes:
        return 1 - 1 / classes
    wanted = (triples - 1 / classes**2) / (pairs - 1 / classes)
    low, high = 0.0, (1 - 1 / classes) * LARGEST
    for _ in range(50):  # the ratio falls with the noise
        middle = (low + high) / 2
        low, high = (middle, high) if _ratio(middle, classes) > wanted else (low, middle)
    return (low + high) / 2


def _ratio(noise: float, classes: int) -> float:
    kept, other = 1 - noise, noise / (classes - 1)
    pairs, triples = (kept**n + (classes - 1) * other**n for n in (2, 3))
    return (triples - 1 / classes**2) / (pairs - 1 / classes)


def _thumbnails(images: Tensor) -> Tensor:
    """Shrink images, and normalize them to mean 0 and norm 1, float (N, D)."""
    gray = images.float().mean(1, keepdim=True)
    side = min(THUMBNAIL, *gray.shape[2:])
    flat = functional.adaptive_avg_pool2d(gray, side).flatten(1)
    return functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def _evenness(labels: Tensor, neighbors: Tensor, share: Tensor) -> float:
    """Compare the entropy of the pairs of differing labels with that of pairs drawn at random."""
    classes = len(share)
    wrong = labels != neighbors
    if int(wrong.sum()) < classes * (classes - 1):  # fewer than one for each pair
        return 0.0
    counts = torch.bincount(labels[wrong] * classes + neighbors[wrong], minlength=classes**2).double()
    drawn = (share[:, None] * share).fill_diagonal_(0).flatten()
    # With n pairs in m cells, the entropy of a sample is too small by (m - 1) / 2n: Miller 1955
    cells, total = int((drawn > 0).sum()), int(wrong.sum())
    return min(1.0, (_entropy(counts) + (cells - 1) / (2 * total)) / _entropy(drawn))


def _entropy(weights: Tensor) -> float:
    p = weights[weights > 0] / weights.sum()
    return float(-(p * p.log()).sum())
