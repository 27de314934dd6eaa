"""Creation of the record of a run's data."""

import base64
import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lenet_pl.data.data_record import SPLITS, ClassRecord, DataRecord, SplitRecord
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.split_digests import contents_of, digest_pixels, digest_split, to_bytes


def create_data_record(
    train: ImageDataset, validation: ImageDataset, test: ImageDataset, classes: tuple[str, ...], digest: str
) -> DataRecord:
    """Create the record of split data.

    Args:
        train: The training images.
        validation: The validation images.
        test: The test images.
        classes: The class names, in the order of the labels.
        digest: The digest of the dataset before splitting, from `digest_source`.
    """
    splits = (train, validation, test)
    records = {
        name: SplitRecord(
            images=len(split),
            digest=digest_split(contents_of(split), split.labels),
            contents=_packed(contents_of(split), "<i8"),
            labels=_packed(split.labels, "<u2"),
            names=_encodable_names(split.names),
            pixels=digest_pixels(split),
        )
        for name, split in zip(SPLITS, splits, strict=True)
    }
    contents, labels = torch.cat([contents_of(s) for s in splits]), torch.cat([s.labels for s in splits])
    return DataRecord.model_validate(
        {
            "digest": digest,
            "channels": train.array.shape[1],
            "classes": record_classes(classes, contents, labels),
            "parts": records,
        }
    )


def record_classes(classes: tuple[str, ...], contents: Tensor, labels: Tensor) -> list[ClassRecord]:
    """Record the number of images of each class and the digest of their sorted contents.

    Args:
        classes: The class names, in the order of the labels.
        contents: The digest of each image, int64 of shape (N,).
        labels: The class of each image, int64 of shape (N,).
    """
    order = np.lexsort((contents.numpy(), labels.numpy()))
    ascending, counts = contents.numpy()[order], torch.bincount(labels, minlength=len(classes)).tolist()
    groups = np.split(ascending, np.cumsum(counts)[:-1])
    return [
        ClassRecord(name=encodable(name), images=count, digest=hashlib.sha256(to_bytes(group, "<i8")).hexdigest()[:16])
        for name, count, group in zip(classes, counts, groups, strict=True)
    ]


def encodable(name: str) -> str:
    """Escape what UTF-8 cannot encode in a name, because file names may contain arbitrary bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _encodable_names(names: list[str] | list[int]) -> Any:
    return [encodable(name) if isinstance(name, str) else name for name in names]


def _packed(values: Tensor, kind: str) -> str:
    return base64.b64encode(to_bytes(values.numpy(), kind)).decode()
