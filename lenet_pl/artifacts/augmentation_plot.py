"""The figure of the augmentation: some training images, and several random transforms of each."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lenet_pl.artifacts.plots import draw_samples
from lenet_pl.batch import Batch
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.display.figure import Figure
from lenet_pl.display.text import label
from lenet_pl.runtime.seeding import keyed_generator
from lenet_pl.settings import AugmentSettings

DRAWS = 8


def augments(data: ImageDataModule) -> bool:
    """Whether training images are transformed at random, or mixed."""
    return data.augment.active or data.mixing.active


def draw_augmentation(data: ImageDataModule, images: ImageDataset) -> Figure:
    """Draw images, one a row: the image as it is, then random transforms of it.

    An image that is mixed from two has the weights of both classes as its title.

    Args:
        data: The data module, with the augmentation of the training.
        images: The images, which are each other's partners in mixup and CutMix.
    """
    names = [label(name, 16) for name in data.classes]
    columns, titles = [data.preprocess.resize(images.images)], [[names[k] for k in images.labels.tolist()]]
    for batch in random_batches(data, images, DRAWS):
        columns.append(batch.images)
        titles.append(_titles(batch, names))
    row_by_row = [title for row in zip(*titles, strict=True) for title in row]
    title = "training images, and random transforms of each"
    return draw_samples(as_pixels(columns), row_by_row, title, columns=1 + DRAWS)


def random_batches(data: ImageDataModule, images: ImageDataset, draws: int) -> Iterator[Batch]:
    """Yield the images after random transforms, with pixels in [0, 1], as many times as `draws` says."""
    pixels = data.preprocess.resize(images.images)
    for draw in range(draws):
        changed = pixels
        if data.augment.active:
            changed = data.augment(pixels, keyed_generator("augmentation figure", data.seed, draw))
        batch = Batch(changed, images.labels)
        if data.mixing.active:  # it commutes with the normalization
            batch = data.mixing(batch, keyed_generator("mixing figure", data.seed, draw))
        yield batch


def as_pixels(columns: Sequence[Tensor]) -> Tensor:
    """Arrange columns of images, each float (N, C, H, W) in [0, 1], row by row, as uint8 (N · columns, C, H, W)."""
    return torch.stack(list(columns), 1).flatten(0, 1).clamp(0, 1).mul(255).round().to(torch.uint8)


def _titles(batch: Batch, names: list[str]) -> list[str]:
    """Write the weights of the classes of mixed images; nothing above others."""
    if batch.mixed is None:
        return [""] * len(batch.labels)
    rows = zip(batch.labels.tolist(), batch.mixed.others.tolist(), batch.mixed.weight.tolist(), strict=True)
    return [f"{weight:.0%} {names[k]}\n{1 - weight:.0%} {names[other]}" for k, other, weight in rows]


def ineffective(settings: AugmentSettings, channels: int) -> list[str]:
    """List transforms that change nothing, since the images are gray, in one line for the notes of a run."""
    colors = [f"augment.{name}" for name in ("saturation", "hue") if getattr(settings, name) > 0 and channels == 1]
    return [f"{' and '.join(colors)} changed nothing, since the images are gray"] if colors else []
