"""NumPy files → images that stay on disk until a batch wants them."""

import os
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.data.class_labels import read_class_names, require_labels
from lenet_pl.data.content import digest_array
from lenet_pl.data.image_set import ImageSet, Origin
from lenet_pl.errors import DataError
from lenet_pl.settings import ArraysDataSettings

MOST_CLASSES = 1000  # a label beyond is a slip, or a stranger's, and would make as many names
FILES = ("train_images.npy", "train_labels.npy", "test_images.npy", "test_labels.npy")


def read_arrays(settings: ArraysDataSettings) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """Open uint8 images (N, H, W) or (N, H, W, C) and integer labels (N,) as NumPy saves them.

    Args:
        settings: `path` holds `FILES`; `classes.txt`, if it is there, has one name per line.

    Returns:
        Training part, test part, class names; without `classes.txt` these are the numbers.

    Raises:
        DataError: a file is absent, damaged, or does not fit the others.
    """
    path = Path(settings.path)
    if not path.is_dir():
        raise DataError(f"data.path: {path} is not a folder; accepted is a folder with {', '.join(FILES)}")
    train, test = (_part(path, name, settings.in_memory) for name in ("train", "test"))
    shapes = [tuple(part.array.shape[1:]) for part in (train, test)]
    if shapes[0] != shapes[1]:
        raise DataError(f"{path}: training images are {shapes[0]}, test images {shapes[1]}; accepted is one (C, H, W)")
    listed = path / "classes.txt"
    names = read_class_names(listed) if listed.is_file() else None
    require_labels(path, train.labels, test.labels, names)
    return train, test, tuple(names or (str(k) for k in range(int(train.labels.max()) + 1)))


def _part(path: Path, part: str, in_memory: bool) -> ImageSet:
    image_file, label_file = path / f"{part}_images.npy", path / f"{part}_labels.npy"
    images, labels = _open(image_file, None if in_memory else "r"), _open(label_file, None)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(f"{image_file}: {images.dtype} {images.shape}; accepted is uint8 of (N, H, W) or (N, H, W, C)")
    if images.shape[1] != images.shape[2] or images.shape[3:] not in ((), (1,), (3,)) or 0 in images.shape:
        raise DataError(f"{image_file}: {images.shape}; accepted are one or more square images of 1 or 3 channels")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
        raise DataError(
            f"{label_file}: {labels.dtype} {labels.shape}; accepted are integers from 0, one for each of "
            f"the {len(images)} images"
        )
    if labels.max() >= MOST_CLASSES:
        raise DataError(f"{label_file}: a label of {labels.max()}; accepted are 0 to {MOST_CLASSES - 1}")
    with warnings.catch_warnings():  # a file that is open for reading cannot be written to, and nobody does
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        pixels = torch.from_numpy(images)
    origin = Origin(digest_array(image_file, images))
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    announce = None if in_memory else Announcer(image_file, images)
    return ImageSet(pixels, torch.from_numpy(labels.astype(np.int64)), announce=announce, origin=origin)


def _open(file: Path, mode: Any) -> Any:
    try:
        return np.load(file, mmap_mode=mode, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{file}: no such file; data.path wants {', '.join(FILES)}") from None
    except (OSError, ValueError, EOFError) as error:
        why = " ".join(str(error).split())[:120]
        raise DataError(f"{file}: not an array that NumPy saved ({why})") from None


class Announcer:
    """Tell the system which images are wanted soon, so that it reads them while the network is busy with others.

    Without it each image of a shuffled epoch would wait for the disk on its own.

    Args:
        file: of the array.
        images: the same, memory-mapped.
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
        """Raise DataError if the file was written to or replaced since it was opened; its images are then others."""
        try:
            changed = self._look(self._file) != self._state
        except OSError:
            changed = True
        if changed:
            raise DataError(
                f"{self._file}: changed while it was used; must stay as it is, or data.in_memory=true reads it once"
            )

    def __call__(self, rows: Tensor) -> None:
        """Announce rows of the array, int64 (B,)."""
        if hasattr(os, "posix_fadvise"):
            for row in rows.tolist():
                start = self._start + row * self._bytes
                os.posix_fadvise(self._descriptor, start, self._bytes, os.POSIX_FADV_WILLNEED)
