"""The figure of the augmentation: some training images, and several random transforms of each."""

import torch

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
    pixels, names = data.preprocess.resize(images.images), [label(name, 16) for name in data.classes]
    columns, titles = [pixels], [[names[k] for k in images.labels.tolist()]]
    for draw in range(DRAWS):
        changed = pixels
        if data.augment.active:
            changed = data.augment(pixels, keyed_generator("augmentation figure", data.seed, draw))
        batch = Batch(changed, images.labels)
        if data.mixing.active:  # it commutes with the normalization
            batch = data.mixing(batch, keyed_generator("mixing figure", data.seed, draw))
        columns.append(batch.images)
        titles.append(_titles(batch, names))
    shown = torch.stack(columns, 1).flatten(0, 1).clamp(0, 1).mul(255).round().to(torch.uint8)
    row_by_row = [title for row in zip(*titles, strict=True) for title in row]
    return draw_samples(shown, row_by_row, "training images, and random transforms of each", columns=1 + DRAWS)


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
