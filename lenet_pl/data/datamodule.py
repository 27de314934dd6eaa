"""ImageDataModule: a source, its fixed split, and loaders for Lightning."""

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lightning
import torch
from torch import Tensor

from lenet_pl.data.augment import Augment
from lenet_pl.data.identity import PARTS, Identity, digest_source, identify
from lenet_pl.data.image_set import ImageSet, split
from lenet_pl.data.loader import BatchLoader, StretchLoader
from lenet_pl.data.own_images import UNRECORDED, OwnImages
from lenet_pl.data.sources import load_source
from lenet_pl.data.transform import ModelInput, pixel_statistics
from lenet_pl.errors import DataError, SettingError, printable
from lenet_pl.settings import AugmentSettings, DataSettings, LoaderSettings, SplitSettings

STRETCH = 20  # batches for each step of Lightning's


class ImageDataModule(lightning.LightningDataModule):
    """Train, validation and test part of a data set, at the size that the model wants.

    Loading and splitting happen at construction, because the model needs to know channels and classes.

    Args:
        data: which set, and how it is split.
        loader: batch sizes and order.
        augment: random transforms of training images.
        image_size: px, from the model.
        seed: of order and augmentation, never of the split.
        limit_train_batches: of an epoch; None: all.
        input_range: what grey levels 0 and 255 become; None: mean 0 and standard deviation 1.
        statistics: mean and standard deviation per channel, of pixels scaled to [0, 1]; None: of the training images.
        own: the images that a run had, which are to be used again; None: the set as it is.

    Attributes:
        identity: which images there are; None for a published set, or where an earlier version did not record them.

    Raises:
        DataError: files are absent or damaged, or not what the run had.
        SettingError: the split or the batch size does not fit the set.
    """

    def __init__(
        self,
        data: DataSettings,
        loader: LoaderSettings,
        augment: AugmentSettings,
        *,
        image_size: int,
        seed: int,
        limit_train_batches: int | None = None,
        input_range: Sequence[float] | None = None,
        statistics: tuple[Sequence[float], Sequence[float]] | None = None,
        own: OwnImages | None = None,
    ) -> None:
        super().__init__()
        self.loader, self.seed, self.limit_train_batches = loader, seed, limit_train_batches
        self.source = load_source(own.read_as_before(data) if own else data, image_size)
        self.identity: Identity | None = None
        if own and (parts := own.find(self.source)):
            self.identity = own.recorded()
            self.source = replace(self.source, classes=own.classes)
            self.train_set, self.validation_set, self.test_set = (parts[name] for name in PARTS)
        else:
            self._divide(data.split, own)
        mean, std = statistics or (self.source.mean, self.source.std)
        if input_range:
            low, high = input_range
            mean, std = ((value / (high - low),) * self.source.channels for value in (-low, 1.0))
        elif mean is None or std is None:
            mean, std = pixel_statistics(self.train_set)
            if min(std) == 1:  # in place of 0; the levels of images that differ have 0.5 at most
                raise DataError(
                    f"data: all training images are alike, every level is {round(255 * mean[0])}; must differ. Dark "
                    "drawings on a transparent ground need data.background=255"
                )
        self.to_input = ModelInput(image_size, data.fit, mean, std, self.source.background)
        self.augment = Augment(augment, self.to_input.background)

    def _divide(self, settings: SplitSettings, own: OwnImages | None) -> None:
        """Split as the settings say, and note which images each part has."""
        whole, test, validation_set = self.source.train, self.source.test, self.source.validation
        train = torch.arange(len(whole))
        if validation_set is None:
            train, validation = split(whole.labels, settings)
            validation_set = whole.subset(validation)
        missing = set(range(len(self.source.classes))) - set(whole.labels[train].tolist())
        if missing:
            names = ", ".join(self.source.classes[k] for k in sorted(missing)[:5])
            raise SettingError(
                f"data.split: no training image is left of {len(missing)} classes ({names}); "
                "accepted is a split, or more images, with at least one of each"
            )
        if self.loader.batch_size > len(train):
            raise SettingError(
                f"loader.batch_size: {self.loader.batch_size} images are more than the {len(train)} training images; "
                f"accepted is 1 to {len(train)}"
            )
        self.train_set, self.validation_set, self.test_set = whole.subset(train), validation_set, test
        if whole.origin is None:
            return
        if own and own.identity is None:  # what is not known of the beginning cannot be recorded now
            print(UNRECORDED)
            return
        digest = digest_source(self.classes, *self.source.parts)
        self.identity = identify(self.train_set, self.validation_set, test, self.classes, digest)
        if own:
            own.refuse_others(self.identity)

    def doubts(self) -> list[str]:
        """Say, a line each, what makes figures of the test part doubtful."""
        found, parts = [], (self.train_set, self.validation_set, self.test_set)
        contents = [part.contents for part in parts]
        if all(content is not None for content in contents):
            train, validation = (set(content.tolist()) for content in contents[:2] if content is not None)
            for what, seen in (("trained on", train), ("used for validation", validation - train)):
                if common := sum(content in seen for content in contents[2].tolist()):  # type: ignore[union-attr]
                    found.append(f"{common:,} of the {len(self.test_set):,} test images were {what} too, as copies")
        there = set(self.test_set.labels.tolist())
        if lacking := [name for k, name in enumerate(self.classes) if k not in there]:
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            found.append(f"no test image of {', '.join(map(printable, lacking[:5]))}{more}")
        return found

    def with_seed(self, seed: int) -> "ImageDataModule":
        """Make one for another training, with an order and augmentation of its own and the same images."""
        other = copy.copy(self)
        other.seed = seed
        return other

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""
        return self.source.classes

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.source.channels

    def example(self) -> Tensor:
        """Make an input of the size that the model gets, float (1, C, H, W), all zero."""
        size = self.to_input.image_size
        return torch.zeros(1, self.channels, size, size)

    def class_weights(self) -> Tensor:
        """Weigh classes by 1 / frequency in the training part, 1 on average over its images; float (K,)."""
        counts = Counter(self.train_set.labels.tolist())
        total, kinds = len(self.train_set), len(self.classes)
        return torch.tensor([total / (kinds * counts[k]) if counts[k] else 0.0 for k in range(kinds)])

    def train_dataloader(self) -> StretchLoader:
        trainer = self._trainer()
        batches = BatchLoader(
            self.train_set.to(trainer.strategy.root_device),
            self.loader.batch_size,
            self.to_input.to(trainer.strategy.root_device),
            augment=self.augment,
            shuffle=self.loader.shuffle,
            drop_last=self.loader.drop_last,
            seed=self.seed,
            # `processed` counts the same before and after a resume; `trainer.current_epoch` does not
            epoch=lambda: trainer.fit_loop.epoch_progress.current.processed,  # type: ignore[attr-defined]
            rank=trainer.global_rank,
            ranks=trainer.world_size,
            device=trainer.strategy.root_device,
        )
        # Several processes put their gradients together once in each of Lightning's steps
        length = STRETCH if trainer.world_size == 1 else 1
        task: Any = trainer.lightning_module
        return StretchLoader(batches, length, self.limit_train_batches, done=lambda: task.steps_done)

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.validation_set)

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_set)

    def transfer_batch_to_device(self, batch: object, device: torch.device, dataloader_idx: int) -> object:
        return batch  # the loader made it there

    def _evaluation_loader(self, images: ImageSet) -> BatchLoader:
        """Give each rank a stretch of its own, so that every image is scored exactly once."""
        trainer = self._trainer()
        rank, ranks = trainer.global_rank, trainer.world_size
        if ranks > len(images):
            raise SettingError(f"trainer.devices: {ranks} for {len(images)} images; accepted is one image each or more")
        stretch = slice(rank * len(images) // ranks, (rank + 1) * len(images) // ranks)
        device = trainer.strategy.root_device
        return BatchLoader(
            images.subset(torch.arange(len(images))[stretch]).to(device),
            self.loader.eval_batch_size,
            self.to_input.to(device),
            device=device,
        )

    def _trainer(self) -> lightning.Trainer:
        assert self.trainer is not None
        return self.trainer
