"""NumPy files as image datasets that stay on disk until a batch is read."""

import os
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.data.class_labels import read_class_names, require_labels
from lenet_pl.data.image_dataset import ImageDataset, Origin
from lenet_pl.data.image_digests import digest_array
from lenet_pl.errors import DataError
from lenet_pl.settings import ArraysDataSettings

MAX_CLASSES = 1000  # a larger label is a mistake or malicious, and would create that many class names
FILES = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")


def read_arrays(settings: ArraysDataSettings) -> tuple[ImageDataset, ImageDataset, tuple[str, ...]]:
    """Open uint8 images of shape (N, H, W) or (N, H, W, C) and integer labels of shape (N,) from `.npy` files.

    Args:
        settings: The settings of the dataset. The folder `path` contains `FILES` and, optionally, `classes.txt` with
            one class name per line.

    Returns:
        The training images, the test images and the class names, which are the label numbers without `classes.txt`.

    Raises:
        DataError: If a file is missing, corrupt or inconsistent with the others.
    """
    path = Path(settings.path)
    if not path.is_dir():
        raise DataError(f"data.path: {path} is not a folder; must be a folder with {', '.join(FILES)}")
    train, test = (_read_split(path, name, settings.in_memory) for name in ("train", "test"))
    shapes = [tuple(split.array.shape[1:]) for split in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{path}: got training images of shape {shapes[0]} and test images of shape {shapes[1]}; "
            "must be the same (C, H, W)"
        )
    listed = path / "classes.txt"
    names = read_class_names(listed) if listed.is_file() else None
    require_labels(path, train.labels, test.labels, names)
    return train, test, tuple(names or (str(k) for k in range(int(train.labels.max()) + 1)))


def _read_split(path: Path, split: str, in_memory: bool) -> ImageDataset:
    image_file, label_file = path / f"{split}_images.npy", path / f"{split}_labels.npy"
    images, labels = _open(image_file, None if in_memory else "r"), _open(label_file, None)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{image_file}: got {images.dtype} of shape {images.shape}; must be uint8 of shape (N, H, W) or "
            "(N, H, W, C)"
        )
    if images.shape[1] != images.shape[2] or images.shape[3:] not in ((), (1,), (3,)) or 0 in images.shape:
        raise DataError(
            f"{image_file}: got shape {images.shape}; must be one or more square images with 1 or 3 channels"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
        raise DataError(
            f"{label_file}: got {labels.dtype} of shape {labels.shape}; must be non-negative integers, one for each "
            f"of the {len(images)} images"
        )
    if labels.max() >= MAX_CLASSES:
        raise DataError(f"{label_file}: got a label of {labels.max()}; must be 0 to {MAX_CLASSES - 1}")
    with warnings.catch_warnings():  # the array of a file opened for reading is read-only, and nothing writes to it
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        pixels = torch.from_numpy(images)
    origin = Origin(digest_array(image_file, images))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    prefetcher = None if in_memory else FileReadahead(image_file, images)
    return ImageDataset(pixels, torch.from_numpy(labels.astype(np.int64)), prefetcher=prefetcher, origin=origin)


def _open(file: Path, mode: Any) -> Any:
    try:
        return np.load(file, mmap_mode=mode, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; data.path must contain {', '.join(FILES)}") from None
    except (OSError, ValueError, EOFError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"{file}: not a valid .npy file ({why})") from None


class FileReadahead:
    """Read-ahead of a memory-mapped array, so that the system loads the next images while the network trains.

    Without it, every image of a shuffled epoch would wait for the disk individually.

    Args:
        file: The file of the array.
        images: The memory-mapped array of the same file, of shape (M, ...).
    """

    def __init__(self, file: Path, images: Any) -> None:
        self._start, self._bytes = int(images.offset), int(images[0].nbytes)
        self._descriptor = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._file, self._state = file, self._look(file)

    @staticmethod
    def _look(file: Path) -> tuple[int, int, int]:
        status = file.stat()
        return status.st_size, status.st_mtime_ns, status.st_ino

    def verify(self) -> None:
        """Raise DataError if the file was modified or replaced after it was opened."""
        try:
            changed = self._look(self._file) != self._state
        except OSError:
            changed = True
        if changed:
            raise DataError(
                f"{self._file}: changed while in use; must stay unchanged, or be read once by data.in_memory=true"
            )

    def __call__(self, rows: Tensor) -> None:
        """Request rows of the array, given as int64 indices of shape (B,)."""
        if hasattr(os, "posix_fadvise"):
            for row in rows.tolist():
                start = self._start + row * self._bytes
                os.posix_fadvise(self._descriptor, start, self._bytes, os.POSIX_FADV_WILLNEED)
