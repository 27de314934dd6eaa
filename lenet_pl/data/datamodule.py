"""The LightningDataModule: a dataset, its fixed splits and their loaders."""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import lightning
import torch
from torch import Tensor

from lenet_pl.data.augment import Augment
from lenet_pl.data.identity import SPLITS, Identity
from lenet_pl.data.image_set import ImageDataset
from lenet_pl.data.loader import BatchLoader, ChunkedLoader
from lenet_pl.data.record_identity import identify
from lenet_pl.data.run_images import UNRECORDED, RunImages
from lenet_pl.data.sources import load_dataset
from lenet_pl.data.split import split
from lenet_pl.data.split_digests import digest_source
from lenet_pl.data.transform import Preprocess, pixel_statistics
from lenet_pl.data.transformed_augment import TransformedAugment
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.settings import AugmentSettings, DataSettings, LoaderSettings, SplitSettings

STEPS_PER_CHUNK = 20  # batches per Lightning step


class ImageDataModule(lightning.LightningDataModule):
    """Training, validation and test split of a dataset, resized to the input size of the model.

    The data are loaded and split at construction, because the model depends on the number of channels and classes.

    Args:
        data: The dataset and how to split it.
        loader: The batch sizes and the order of the images.
        augment: The random transforms of the training images.
        image_size: The height and width of the model's input in px.
        seed: The seed of order and augmentation. The split does not depend on it.
        limit_train_batches: The number of training batches per epoch, or their fraction; None for all.
        input_range: The model inputs for gray levels 0 and 255, or None to normalize to mean 0 and standard
            deviation 1.
        statistics: The mean and standard deviation per channel of pixels scaled to [0, 1], or None for those of the
            training images.
        own: The recorded images of an existing run, to use the same ones again, or None for the dataset as it is.
        transforms: Further transforms of training batches after `augment`, see `TransformedAugment`.

    Attributes:
        identity: The record of the images in each split. None for a published dataset, and for a run whose version of
            lenet_pl did not record them.

    Raises:
        DataError: If files are missing or corrupt, or the images differ from those of the run.
        SettingError: If the split or the batch size does not fit the dataset.
    """

    def __init__(
        self,
        data: DataSettings,
        loader: LoaderSettings,
        augment: AugmentSettings,
        *,
        image_size: int,
        seed: int,
        limit_train_batches: int | float | None = None,
        input_range: Sequence[float] | None = None,
        statistics: tuple[Sequence[float], Sequence[float]] | None = None,
        own: RunImages | None = None,
        transforms: Sequence[Callable[[Tensor], Tensor]] = (),
    ) -> None:
        super().__init__()
        self.loader, self.seed, self.limit_train_batches = loader, seed, limit_train_batches
        self.source = load_dataset(own.read_as_before(data) if own else data, image_size)
        self.identity: Identity | None = None
        if own and (splits := own.find(self.source)):
            self.identity = own.recorded()
            self.source = replace(self.source, classes=own.classes)
            self.train_set, self.validation_set, self.test_set = (splits[name] for name in SPLITS)
        else:
            self._split(data.split, own)
        mean, std = statistics or (self.source.mean, self.source.std)
        if input_range:
            low, high = input_range
            mean, std = ((value / (high - low),) * self.source.channels for value in (-low, 1.0))
        elif mean is None or std is None:
            mean, std = pixel_statistics(self.train_set)
            if min(std) == 1:  # the replacement for 0; levels in [0, 1] have a standard deviation of at most 0.5
                raise DataError(
                    f"data: all training images are identical, every level is {round(255 * mean[0])}; must differ "
                    "(dark drawings on a transparent background need data.background=255)"
                )
        self.preprocess = Preprocess(image_size, data.resize_mode, mean, std, self.source.background)
        background = self.preprocess.background
        self.augment = (
            TransformedAugment(augment, background, transforms) if transforms else Augment(augment, background)
        )

    def _split(self, settings: SplitSettings, own: RunImages | None) -> None:
        """Split the dataset and record the images of each split."""
        whole, test, validation_set = self.source.train, self.source.test, self.source.validation
        train = torch.arange(len(whole))
        if validation_set is None:
            train, validation = split(whole.labels, settings)
            validation_set = whole.subset(validation)
        missing = set(range(len(self.source.classes))) - set(whole.labels[train].tolist())
        if missing:
            names = ", ".join(self.source.classes[k] for k in sorted(missing)[:5])
            raise SettingError(
                f"data.split: leaves no training image of {len(missing)} classes ({names}); "
                "must leave at least one per class: use another split or more images"
            )
        if self.loader.batch_size > len(train):
            raise SettingError(
                f"loader.batch_size: got {self.loader.batch_size} for {len(train)} training images; "
                f"must be 1 to {len(train)}"
            )
        self.train_set, self.validation_set, self.test_set = whole.subset(train), validation_set, test
        if whole.origin is None:
            return
        if own and own.identity is None:  # the images at the start of the run are unknown, so record none
            print(UNRECORDED)
            return
        digest = digest_source(self.classes, *self.source.splits)
        self.identity = identify(self.train_set, self.validation_set, test, self.classes, digest)
        if own:
            own.refuse_others(self.identity)

    def doubts(self) -> list[str]:
        """List what makes the test metrics unreliable: leaked images and classes without test images, one line each."""
        found, splits = [], (self.train_set, self.validation_set, self.test_set)
        contents = [split.contents for split in splits]
        if all(content is not None for content in contents):
            train, validation = (set(content.tolist()) for content in contents[:2] if content is not None)
            for name, seen in (("training", train), ("validation", validation - train)):
                if common := sum(content in seen for content in contents[2].tolist()):  # type: ignore[union-attr]
                    found.append(f"{common:,} of the {len(self.test_set):,} test images are copies of {name} images")
        there = set(self.test_set.labels.tolist())
        if missing := [name for k, name in enumerate(self.classes) if k not in there]:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            found.append(f"no test image of {', '.join(map(printable, missing[:5]))}{more}")
        return found

    def with_seed(self, seed: int) -> "ImageDataModule":
        """Return a copy with the same images and another seed of order and augmentation."""
        other = copy.copy(self)
        other.seed = seed
        return other

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        return self.source.classes

    @property
    def channels(self) -> int:
        """The number of channels: 1 for gray, 3 for color."""
        return self.source.channels

    def example_input(self) -> Tensor:
        """Return a model input of zeros, float of shape (1, C, H, W)."""
        size = self.preprocess.image_size
        return torch.zeros(1, self.channels, size, size)

    def class_weights(self) -> Tensor:
        """Compute weights proportional to 1 / class frequency, with mean 1 over the training images; float (K,)."""
        counts = Counter(self.train_set.labels.tolist())
        total, num_classes = len(self.train_set), len(self.classes)
        return torch.tensor([total / (num_classes * counts[k]) if counts[k] else 0.0 for k in range(num_classes)])

    def train_dataloader(self) -> ChunkedLoader:
        trainer = self._trainer()
        batches = BatchLoader(
            self.train_set.to(trainer.strategy.root_device),
            self.loader.batch_size,
            self.preprocess.to(trainer.strategy.root_device),
            augment=self.augment,
            shuffle=self.loader.shuffle,
            drop_last=self.loader.drop_last,
            seed=self.seed,
            # Unlike `trainer.current_epoch`, `processed` is the same before and after a resume
            epoch=lambda: trainer.fit_loop.epoch_progress.current.processed,  # type: ignore[attr-defined]
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            device=trainer.strategy.root_device,
        )
        # Several processes synchronize their gradients once per Lightning step
        length = STEPS_PER_CHUNK if trainer.world_size == 1 else 1
        task: Any = trainer.lightning_module
        return ChunkedLoader(batches, length, self.limit_train_batches, resume_from=lambda: task.step_in_epoch)

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.validation_set)

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_set)

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        return batch  # the loader already made it on the device

    def _evaluation_loader(self, images: ImageDataset) -> BatchLoader:
        """Assign a contiguous share of the images to each rank, so that every image is scored exactly once."""
        trainer = self._trainer()
        rank, world_size = trainer.global_rank, trainer.world_size
        if world_size > len(images):
            raise SettingError(
                f"trainer.devices: got {world_size} for {len(images)} images; must be at most one device per image"
            )
        share = slice(rank * len(images) // world_size, (rank + 1) * len(images) // world_size)
        device = trainer.strategy.root_device
        return BatchLoader(
            images.subset(torch.arange(len(images))[share]).to(device),
            self.loader.eval_batch_size,
            self.preprocess.to(device),
            device=device,
        )

    def _trainer(self) -> lightning.Trainer:
        assert self.trainer is not None
        return self.trainer
