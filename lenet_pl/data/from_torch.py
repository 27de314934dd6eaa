"""Map-style torch datasets, and pairs of arrays, as arrays of images and labels."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lenet_pl.data.fingerprints import digest_images
from lenet_pl.data.image_set import ImageDataset, Origin
from lenet_pl.errors import DataError

MAX_CLASSES = 1000


def dataset_from_torch(dataset: Any, name: str = "data") -> ImageDataset:
    """Read a dataset once, into memory.

    Args:
        dataset: A map-style `torch.utils.data.Dataset` of pairs (image, label), or a pair of arrays or tensors
            (images, labels). An image is a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W) or (H, W),
            with values from 0 to 255 if it is of an integer type, else from 0 to 1. C is 1 or 3.
        name: Name of the dataset in errors.

    Returns:
        The images, uint8 of shape (N, C, H, W), and their labels.

    Raises:
        DataError: The dataset is empty, its images are of different sizes, or an image or label is unsuitable.
    """
    if isinstance(dataset, tuple | list) and len(dataset) == 2 and not isinstance(dataset[0], tuple):
        pairs: Any = zip(*dataset, strict=True)
    elif hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        pairs = (dataset[index] for index in range(len(dataset)))
    else:
        raise DataError(
            f"data={name}: got {type(dataset).__name__}; must be a map-style torch Dataset, or images and labels"
        )
    images: list[Tensor] = []
    labels: list[int] = []
    for number, (image, label) in enumerate(pairs):
        images.append(_as_bytes(image, f"data={name}: image {number}"))
        labels.append(int(label))
        if images[-1].shape != images[0].shape:
            shapes = f"{tuple(images[-1].shape)} after {tuple(images[0].shape)}"
            raise DataError(f"data={name}: image {number} has shape {shapes}; all must have the same (C, H, W)")
    if not images:
        raise DataError(f"data={name}: got no images; must be at least one")
    if not 0 <= min(labels) <= max(labels) < MAX_CLASSES:
        raise DataError(
            f"data={name}: got labels {min(labels)} to {max(labels)}; must be integers from 0 to {MAX_CLASSES - 1}"
        )
    array = torch.stack(images)
    return ImageDataset(array, torch.tensor(labels), origin=Origin(digest_images(array.numpy())))


def _as_bytes(image: Any, where: str) -> Tensor:
    """Convert an image to uint8 of shape (C, H, W)."""
    if isinstance(image, Image.Image):
        image = np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    pixels = torch.as_tensor(image)
    if pixels.ndim == 3 and not isinstance(image, Tensor):
        pixels = pixels.permute(2, 0, 1)
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or pixels.shape[1] != pixels.shape[2]:
        raise DataError(f"{where} has shape {tuple(pixels.shape)}; must be square, with 1 or 3 channels")
    if pixels.is_floating_point():
        if not bool(((pixels >= 0) & (pixels <= 1)).all()):
            raise DataError(f"{where} has values outside 0 to 1; floating-point images must not be normalized")
        pixels = (pixels * 255).round()
    return pixels.to(torch.uint8).contiguous()
