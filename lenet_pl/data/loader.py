"""Batches as a function of (seed, epoch, step): an index vector, a gather, and transforms of the whole batch."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lenet_pl.batch import Batch
from lenet_pl.data.augment import Augment
from lenet_pl.data.image_set import ImageSet
from lenet_pl.data.transform import ModelInput
from lenet_pl.random_numbers import keyed_generator

AHEAD = 4  # batches that a set on disk is told of in advance
CPU = torch.device("cpu")


class BatchLoader:
    """Iterate over a set once per epoch.

    Args:
        images: the set.
        batch_size: images per step over all ranks together.
        to_input: size and normalisation.
        augment: random transforms between the two; None for validation and test.
        shuffle: a new order every epoch.
        drop_last: leave out the last, smaller batch.
        seed: with the epoch and the step it fixes order and augmentation, whatever happened before.
        epoch: tells the current epoch, from 0.
        rank, ranks: each rank sees every `ranks`-th image of each batch.
        device: where batches are made; the set is there already, or on disk.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        to_input: ModelInput,
        *,
        augment: Augment | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        rank: int = 0,
        ranks: int = 1,
        device: torch.device = CPU,
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self.to_input = to_input
        self.augment = augment if augment and augment.active else None
        self.shuffle, self.drop_last = shuffle, drop_last
        self.seed, self.epoch = seed, epoch
        self.rank, self.ranks = rank, ranks
        self.device = device

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        full, rest = divmod(len(self.images), self.batch_size)
        return full + bool(rest >= self.ranks and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def sample(self, count: int) -> Tensor:
        """Choose images at random, the same ones for the same seed and epoch; not augmented, float (B, C, H, W)."""
        order = torch.randperm(len(self.images), generator=keyed_generator("sample", self.seed, self.epoch()))
        chosen = self.images[order[:count].to(self.images.labels.device)]
        return self.to_input(chosen.images.to(self.device))

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Make the batches of the current epoch from step `first` on; those before it cost nothing."""
        epoch = self.epoch()
        order = None
        if self.shuffle:
            order = torch.randperm(len(self.images), generator=keyed_generator("order", self.seed, epoch))
            order = order.to(self.images.labels.device)

        def index(step: int) -> Tensor | slice:
            part = slice(step * self.batch_size + self.rank, (step + 1) * self.batch_size, self.ranks)
            return part if order is None else order[part]

        for step in range(first, min(first + AHEAD, len(self))):
            self.images.expect(index(step))
        for step in range(first, len(self)):
            if step + AHEAD < len(self):
                self.images.expect(index(step + AHEAD))
            chosen = self.images[index(step)]
            pixels = self.to_input.to_size(chosen.images.to(self.device))
            if self.augment:
                pixels = self.augment(pixels, keyed_generator("augment", self.seed, epoch, step, self.rank))
            whole = min(self.batch_size, len(self.images) - step * self.batch_size)
            weight = len(chosen.labels) * self.ranks / whole
            yield Batch(self.to_input.normalise(pixels), chosen.labels.to(self.device), weight)
        if self.images.announce:  # before the figures of these images count
            self.images.announce.verify()


class StretchLoader:
    """Hand out the batches of an epoch a few at a time, each made when it is asked for.

    What Lightning does around its own step costs as much as training a small network on several batches.

    Args:
        loader: makes the batches.
        length: batches in a stretch.
        limit: batches in an epoch; None: all.
        done: tells how many batches of the epoch about to begin were learned from before the run was interrupted;
            their stretches are handed out empty, so that Lightning counts as it would have.
    """

    def __init__(
        self, loader: BatchLoader, length: int, limit: int | None = None, done: Callable[[], int] = lambda: 0
    ) -> None:
        self.loader, self.length, self.done = loader, length, done
        self.steps = min(len(loader), limit or len(loader))

    def __len__(self) -> int:
        """Count the stretches of an epoch."""
        return -(-self.steps // self.length)

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        done = self.done()
        batches = self.loader.batches(done)
        for start in range(0, self.steps, self.length):
            end = min(start + self.length, self.steps)
            yield itertools.islice(batches, max(0, end - max(start, done)))
