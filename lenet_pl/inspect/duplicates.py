"""Exact and near duplicates, within and between splits."""

import torch
from torch import Tensor

from lenet_pl.data.image_digests import digest_images
from lenet_pl.inspect.findings import Finding
from lenet_pl.inspect.images import AllImages
from lenet_pl.inspect.neighbors import Neighbors, aligned_correlation

MARGIN = 0.05  # a thumbnail correlates less than the aligned images, for instance where a shift leaves the image
EMPTY = 0.01  # fraction of pixels; images with less content correlate by chance, and are listed on their own


def digest_all(images: AllImages) -> Tensor:
    """Digest the pixels of each image, int64 (N,)."""
    return torch.cat([digest_images(pixels.numpy()) for _, pixels in images.blocks()])


def exact_duplicates(digests: Tensor) -> list[Finding]:
    """Find images whose pixels are those of an earlier image.

    Args:
        digests: The digest of each image, int64 (N,).

    Returns:
        A finding for each copy, whose `other` is the first image with the same pixels.
    """
    first: dict[int, int] = {}
    found = []
    for index, digest in enumerate(digests.tolist()):
        earlier = first.setdefault(digest, index)
        if earlier != index:
            found.append(Finding("exact_duplicate", index, 1.0, earlier))
    return found


def near_duplicates(
    images: AllImages, digests: Tensor, content: Tensor, neighbors: Neighbors, threshold: float
) -> list[Finding]:
    """Find images that are nearly the same as their most similar image, but not exactly.

    Args:
        images: All images.
        digests: The digest of each image, int64 (N,).
        content: The fraction of the pixels of each image that differ from its background, float (N,).
        neighbors: The most similar image of each image.
        threshold: The smallest correlation of near duplicates, at full resolution and at the best small shift.

    Returns:
        A finding for each pair, the most similar first. Its `other` is the image with the smaller number.
    """
    one, other = torch.arange(len(images)), neighbors.index
    able = (neighbors.similarity > threshold - MARGIN) & (digests != digests[other])
    able &= (content > EMPTY) & (content[other] > EMPTY)
    pairs = torch.unique(torch.stack([torch.maximum(one, other), torch.minimum(one, other)])[:, able], dim=1)
    if not pairs.shape[1]:
        return []
    correlation = aligned_correlation(images, pairs[0], pairs[1])
    kept = (correlation >= threshold).nonzero()[:, 0]
    ranked = kept[correlation[kept].sort(descending=True, stable=True).indices].tolist()
    return [Finding("near_duplicate", int(pairs[0, k]), float(correlation[k]), int(pairs[1, k])) for k in ranked]
