"""Map-style torch datasets, arrays and tensors as image datasets in memory."""

import sys
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from lenet_pl.data.arrays import MAX_CLASSES
from lenet_pl.data.image_dataset import ImageDataset, Origin
from lenet_pl.data.image_digests import digest_images
from lenet_pl.errors import DataError

LONG = 10_000  # images from which on a progress bar is shown
PIL_MODES = ("L", "RGB", "1")  # gray, color, black and white


def dataset_from_torch(dataset: Any, name: str = "data") -> ImageDataset:
    """Read a map-style torch dataset once, item by item, into one array.

    Args:
        dataset: The dataset, with items (image, label). An image is a PIL image in gray or RGB, or a tensor or array of
            shape (C, H, W) or (H, W), an array also of shape (H, W, C), with uint8 levels or floats in [0, 1]. All have
            the same size and are square. Random transforms would be drawn only once, here.
        name: The name of the dataset in messages.

    Returns:
        The images as uint8 of shape (N, C, H, W), and the labels.

    Raises:
        DataError: If the dataset is empty or has no length, or an image or label is unsuitable.

    Example:
        >>> dataset_from_torch(torchvision.datasets.FashionMNIST("data", train=False)).array.shape
        torch.Size([10000, 1, 28, 28])
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise DataError(
            f"{name}: got {type(dataset).__name__}; must be a map-style dataset with a length, or (images, labels)"
        )
    if not len(dataset):
        raise DataError(f"{name}: got no images; must be one or more")
    images, labels, count = torch.empty(0), torch.empty(0, dtype=torch.int64), len(dataset)
    description, has_bar = f"reading {count:,} {name} images", count >= LONG and sys.stdout.isatty()
    if count >= LONG and not has_bar:
        print(description)
    for k in track(range(count), description, transient=True, disable=not has_bar):
        item = dataset[k]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"{name}: item {k} is of type {type(item).__name__}; must be a pair (image, label)")
        image, label = _levels(item[0], f"{name}: image {k}"), _label(item[1], f"{name}: label {k}")
        if k == 0:
            images = torch.empty(count, *image.shape, dtype=torch.uint8)
            labels = torch.empty(count, dtype=torch.int64)
        elif image.shape != images.shape[1:]:
            raise DataError(
                f"{name}: image {k} is of shape {tuple(image.shape)}, image 0 of {tuple(images.shape[1:])}; must be "
                "the same: resize all to one size and convert all to gray or RGB"
            )
        images[k], labels[k] = image, label
    return _with_origin(images, labels, name)


def dataset_from_arrays(images: Any, labels: Any, name: str = "data") -> ImageDataset:
    """Convert arrays or tensors of images and labels.

    Args:
        images: Images of shape (N, C, H, W) or (N, H, W), with uint8 levels or floats in [0, 1].
        labels: Classes from 0, integers of shape (N,).
        name: The name of the dataset in messages.

    Raises:
        DataError: If shapes, types or values are unsuitable.
    """
    pixels, classes = _as_tensor(images), _as_tensor(labels)
    if pixels.ndim not in (3, 4) or 0 in pixels.shape:
        raise DataError(f"{name}: got images of shape {tuple(pixels.shape)}; must be (N, C, H, W) or (N, H, W)")
    if classes.shape != pixels.shape[:1] or classes.is_floating_point() or classes.dtype == torch.bool:
        raise DataError(
            f"{name}: got labels of {classes.dtype} and shape {tuple(classes.shape)}; must be integers, one for each "
            f"of the {len(pixels):,} images"
        )
    levels = _to_uint8(pixels[:, None] if pixels.ndim == 3 else pixels, f"{name}: images")
    return _with_origin(levels, classes.long(), name)


def _as_tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.cpu()
    array = np.ascontiguousarray(values)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _levels(image: Any, name: str) -> Tensor:
    """Convert one image into uint8 of shape (C, H, W)."""
    if isinstance(image, Image.Image):
        if image.mode not in PIL_MODES:
            raise DataError(f"{name} has the PIL mode {image.mode}; must be L or RGB: use image.convert(...)")
        array = np.array(image.convert("L") if image.mode == "1" else image)
        return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
    if not isinstance(image, Tensor | np.ndarray):
        raise DataError(f"{name} is of type {type(image).__name__}; must be a PIL image, a tensor or an array")
    pixels = _as_tensor(image)
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise DataError(f"{name} is of shape {tuple(pixels.shape)}; must be (C, H, W) or (H, W)")
    if isinstance(image, np.ndarray) and pixels.ndim == 3 and pixels.shape[0] not in (1, 3):
        pixels = pixels.permute(2, 0, 1)  # (H, W, C), as torchvision reads arrays
    return _to_uint8(pixels[None] if pixels.ndim == 2 else pixels, name)


def _to_uint8(pixels: Tensor, name: str) -> Tensor:
    """Convert floats in [0, 1] to levels from 0 to 255, and check the shape (..., C, H, W)."""
    channels, height, width = pixels.shape[-3:]
    if channels not in (1, 3) or height != width:
        raise DataError(
            f"{name}: got {channels} channels of {height}×{width} px; must be 1 or 3 channels, before height and "
            "width, and square"
        )
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise DataError(f"{name}: got {pixels.dtype}; must be uint8 levels, or floats from 0 to 1")
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # also true for NaN
        raise DataError(
            f"{name}: got values from {float(pixels.min()):.4g} to {float(pixels.max()):.4g}; must be 0 to 1, or uint8 "
            "levels: leave normalization to lenet_pl, or divide levels by 255"
        )
    return pixels.mul(255).round().to(torch.uint8)


def _label(label: Any, name: str) -> int:
    is_scalar = isinstance(label, Tensor | np.ndarray | np.generic) and np.asarray(label).size == 1
    value = label.item() if is_scalar else label
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{name} is {value!r} of type {type(value).__name__}; must be an integer class from 0")
    return value


def _with_origin(images: Tensor, labels: Tensor, name: str) -> ImageDataset:
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        raise DataError(f"{name}: got labels {labels.min()} to {labels.max()}; must be 0 to at most {MAX_CLASSES - 1}")
    images = images.contiguous()
    return ImageDataset(images, labels, origin=Origin(digest_images(images.numpy())))
