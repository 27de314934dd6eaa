"""Loaders whose batches depend only on seed, epoch and step. Every transform processes the whole batch at once."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lenet_pl.batch import Batch
from lenet_pl.data.augment import Augment
from lenet_pl.data.callable_augment import AnyBatchAugment
from lenet_pl.data.copy_ahead import copy_ahead
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.mixing import Mixing
from lenet_pl.data.transform import Preprocess
from lenet_pl.errors import SettingError
from lenet_pl.runtime.seeding import keyed_generator

PREFETCH_BATCHES = 4  # batches to read ahead from a dataset on disk
STEPS_AT_ONCE, IMAGES_AT_ONCE = 20, 8192  # largest numbers of batches, and of images, that a GPU makes at once
NUMBERS_AT_ONCE = 1 << 19  # pixels times channels that a CPU makes at once; more would not fit into its caches
ALIGNMENT = 16  # bytes; kernels for vectors of numbers need it, which a batch on its own always has
CPU = torch.device("cpu")


class BatchLoader:
    """Loader of preprocessed and augmented batches, one pass over the images per epoch.

    Args:
        images: The images and labels.
        batch_size: The number of images per step over all ranks.
        preprocess: Resizing and normalization.
        augment: The random transforms between resizing and normalization, or None for validation and test.
        mixing: Mixup and CutMix after normalization, or None.
        shuffle: Whether to draw a new order every epoch.
        drop_last: Whether to drop the last batch if it is smaller than the others.
        seed: The seed of order and augmentation, which depend on seed, epoch and step only.
        epoch: A function that returns the current epoch, from 0.
        first: A function that returns the number of batches of the epoch that are finished already, when the run is
            resumed within the epoch. They are not made again.
        rank: The rank of this process, which gets every `world_size`-th image of each batch.
        world_size: The number of processes.
        device: The device on which batches are made. The images are on this device or on disk.
    """

    def __init__(
        self,
        images: ImageDataset,
        batch_size: int,
        preprocess: Preprocess,
        *,
        augment: AnyBatchAugment | None = None,
        mixing: Mixing | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        first: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device = CPU,
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self.preprocess = preprocess
        self.augment = augment if augment and augment.active else None
        self.mixing = mixing if mixing and mixing.active else None
        self.shuffle, self.drop_last = shuffle, drop_last
        self.seed, self.epoch, self.first = seed, epoch, first
        self.rank, self.world_size = rank, world_size
        self.device = device

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        full, rest = divmod(len(self.images), self.batch_size)
        return full + bool(rest >= self.world_size and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        yield from self.batches(self.first())  # asked for with the first batch, when Lightning's loops are restored

    def state_dict(self) -> dict[str, Any]:
        """Return no state, which marks the loader as resumable for Lightning; the position is that of its loops."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, since there is no state."""

    def sample(self, count: int) -> Tensor:
        """Draw random images without augmentation, reproducibly for the same seed and epoch.

        Returns:
            Normalized images, float of shape (count, C, H, W), or fewer if the dataset is smaller.
        """
        order = torch.randperm(len(self.images), generator=keyed_generator("sample", self.seed, self.epoch()))
        chosen = self.images[order[:count].to(self.images.labels.device)]
        pixels: Tensor = self.preprocess(chosen.images.to(self.device))
        return pixels

    def plain_batches(self, size: int, *key: int) -> Iterator[Batch]:
        """Make batches of all images without augmentation, on each rank, in a random order.

        Args:
            size: The number of images of a batch. The last batch may be smaller, unless `drop_last`.
            key: Integers on which the order depends, in addition to the seed.
        """
        order = torch.randperm(len(self.images), generator=keyed_generator("plain", self.seed, *key))
        for rows in torch.split(order.to(self.images.labels.device), size):
            if len(rows) == size or not self.drop_last:
                chosen = self.images[rows]
                yield Batch(self.preprocess(chosen.images.to(self.device)), chosen.labels.to(self.device))

    @property
    def steps_at_once(self) -> int:
        """The number of batches that are made together.

        More than 1 on a GPU, where an operation on a small batch takes as long as on a large one, and for small batches
        without augmentation on a CPU, where the calls take longer than the work. The batches that are made together
        depend on the step alone, so that a run is resumed exactly.
        """
        if self.images.prefetcher or self.world_size > 1 or not isinstance(self.augment, Augment | None):
            return 1
        numbers = self.batch_size * self.images.array.shape[1] * self.preprocess.image_size**2
        if 4 * numbers % ALIGNMENT:
            return 1
        if self.device.type == "cuda":
            return max(1, min(STEPS_AT_ONCE, IMAGES_AT_ONCE // self.batch_size))
        return 1 if self.augment or self.device != CPU else max(1, min(STEPS_AT_ONCE, NUMBERS_AT_ONCE // numbers))

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Make the batches of the current epoch from step `first` on, without making those before it."""
        epoch = self.epoch()
        order = None
        if self.shuffle:
            order = torch.randperm(len(self.images), generator=keyed_generator("order", self.seed, epoch))
            order = copy_ahead(order, self.images.labels.device)

        def index(step: int, steps: int = 1) -> Tensor | slice:
            share = slice(step * self.batch_size + self.rank, (step + steps) * self.batch_size, self.world_size)
            return share if order is None else order[share]

        for step in range(first, min(first + PREFETCH_BATCHES, len(self))):
            self.images.prefetch(index(step))
        at_once = self.steps_at_once
        for begin in range(first - first % at_once, len(self), at_once):
            if begin + PREFETCH_BATCHES < len(self):
                self.images.prefetch(index(begin + PREFETCH_BATCHES))
            steps = range(begin, min(begin + at_once, len(self)))
            chosen = self.images[index(begin, len(steps))]
            pixels = self.preprocess.resize(chosen.images.to(self.device))
            pixels = self.preprocess.normalize(self._augmented(pixels, epoch, steps))
            labels = chosen.labels.to(self.device)
            size = self.batch_size if at_once > 1 else len(labels)
            for step, images, own in zip(steps, torch.split(pixels, size), torch.split(labels, size), strict=True):
                if step < first:
                    continue
                whole = min(self.batch_size, len(self.images) - step * self.batch_size)
                batch = Batch(images, own, len(own) * self.world_size / whole)
                if self.mixing:
                    batch = self.mixing(batch, keyed_generator("mixing", self.seed, epoch, step, self.rank))
                yield batch
        if self.images.prefetcher:  # fail before metrics of changed images are reported
            self.images.prefetcher.verify()

    def _augmented(self, pixels: Tensor, epoch: int, steps: range) -> Tensor:
        """Augment the images of some steps, with the random numbers of each of them."""
        if self.augment is None:
            return pixels
        generators = [keyed_generator("augment", self.seed, epoch, step, self.rank) for step in steps]
        if len(steps) == 1 or not isinstance(self.augment, Augment):
            return self.augment(pixels, generators[0])
        sizes = [len(some) for some in torch.split(pixels, self.batch_size)]
        drawn = [self.augment.draw(n, pixels.shape[1:], g) for n, g in zip(sizes, generators, strict=True)]
        return self.augment.apply(
            pixels, *(copy_ahead(torch.cat(some), self.device) for some in zip(*drawn, strict=True))
        )


def limited(batches: int, limit: int | float | None, key: str = "trainer.limit_train_batches") -> int:
    """Count the batches that a limit leaves, as Lightning does.

    Args:
        batches: without a limit.
        limit: a number of batches, or a float in (0, 1], their fraction; None: all.
        key: of the setting, for the error.

    Raises:
        SettingError: the fraction is less than one batch.
    """
    if limit is None:
        return batches
    if isinstance(limit, int):
        return min(batches, limit)
    count = int(batches * limit)
    if count == 0:
        raise SettingError(f"{key}: got {limit} of {batches} batches, less than one; must be at least 1 / {batches}")
    return count
