"""Digests of the contents, labels and pixels of splits."""

import hashlib
import json
from typing import Any

import numpy as np
from torch import Tensor

from lenet_pl.data.image_dataset import ImageDataset


def contents_of(images: ImageDataset) -> Tensor:
    """Return the digests of images with an origin, int64 of shape (N,)."""
    assert images.contents is not None
    return images.contents


def digest_source(classes: tuple[str, ...], *splits: ImageDataset) -> str:
    """Digest everything that reaches the network before splitting, which excludes file names and timestamps."""
    digest = hashlib.sha256(json.dumps([list(classes), splits[0].array.shape[1]]).encode())
    for split in splits:
        digest.update(digest_split(contents_of(split), split.labels).encode())
    return digest.hexdigest()


def digest_split(contents: Tensor, labels: Tensor) -> str:
    """Digest contents and labels, int64 of shape (N,) each, in their order."""
    return hashlib.sha256(to_bytes(contents.numpy(), "<i8") + to_bytes(labels.numpy(), "<u2")).hexdigest()


def digest_pixels(images: ImageDataset) -> str | None:
    """Digest decoded images; None if decoding does not depend on other images of the dataset, as for NumPy files."""
    if images.origin is None or images.origin.names is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(images), 1000):
        digest.update(images[slice(start, start + 1000)].array.numpy().tobytes())
    return digest.hexdigest()


def to_bytes(values: Any, kind: str) -> bytes:
    """Convert values to bytes of a NumPy type such as <i8."""
    content: bytes = np.asarray(values).astype(kind).tobytes()
    return content
