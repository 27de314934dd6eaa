"""Recovery of the recorded images of a run from the splits of a changed dataset."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lenet_pl.data.changes import count_missing
from lenet_pl.data.data_record import SplitRecord
from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.image_dataset import ImageDataset, Origin
from lenet_pl.data.split_digests import contents_of


def choose_images(source: DatasetSplits, record: SplitRecord) -> ImageDataset:
    """Collect the images of a recorded split from all current splits; empty if any of them is missing."""
    rows = record.rows()
    if rows is None or count_missing(record, all_contents(source)):
        return source.test.subset(torch.zeros(0, dtype=torch.int64))
    contents, labels = rows
    pools = list(source.splits)
    if all(pool.array is pools[0].array for pool in pools):
        pools = [_join(pools)]
    for pool in pools:
        places = torch.tensor(_places(pool, contents), dtype=torch.int64)
        if bool((places >= 0).all()):
            return replace(pool.subset(places), labels=labels)
    # The images are spread over several arrays, so copy them into one
    array = torch.empty(len(labels), *source.train.array.shape[1:], dtype=torch.uint8)
    for pool in pools:
        places = torch.tensor(_places(pool, contents), dtype=torch.int64)
        array[places >= 0] = pool[places[places >= 0]].array
    return ImageDataset(array, labels, origin=Origin(contents))


def _join(splits: Sequence[ImageDataset]) -> ImageDataset:
    """Concatenate splits that share one array."""
    rows = [torch.arange(len(each)) if each.rows is None else each.rows for each in splits]
    return replace(splits[0], labels=torch.cat([each.labels for each in splits]), rows=torch.cat(rows))


def _places(pool: ImageDataset, contents: Tensor) -> list[int]:
    """Return the index of each content in a pool, or -1 if it is missing."""
    place_of = {content: place for place, content in enumerate(contents_of(pool).tolist())}
    return [place_of.get(content, -1) for content in contents.tolist()]


def all_contents(source: DatasetSplits) -> list[int]:
    """List the digests of the images of all splits."""
    contents: list[int] = torch.cat([contents_of(split) for split in source.splits]).tolist()
    return contents
