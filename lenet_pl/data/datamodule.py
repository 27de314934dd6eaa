"""ImageDataModule: a source, its fixed split, and loaders for Lightning."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor

from lenet_pl.data.augment import Augment
from lenet_pl.data.image_set import ImageSet, split
from lenet_pl.data.loader import BatchLoader, StretchLoader
from lenet_pl.data.sources import load_source
from lenet_pl.data.transform import ModelInput, pixel_statistics
from lenet_pl.errors import SettingError
from lenet_pl.settings import AugmentSettings, DataSettings, LoaderSettings

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

    Raises:
        DataError: files are absent or damaged.
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
    ) -> None:
        super().__init__()
        self.loader, self.seed, self.limit_train_batches = loader, seed, limit_train_batches
        self.source = load_source(data, image_size)
        train, validation = torch.arange(len(self.source.train)), self.source.validation
        if validation is None:
            train, chosen = split(self.source.train.labels, data.split)
            validation = self.source.train.subset(chosen)
        missing = set(range(len(self.source.classes))) - set(self.source.train.labels[train].tolist())
        if missing:
            names = ", ".join(self.source.classes[k] for k in sorted(missing)[:5])
            raise SettingError(
                f"data.split: no training image is left of {len(missing)} classes ({names}); "
                "accepted is a split, or more images, with at least one of each"
            )
        if loader.batch_size > len(train):
            raise SettingError(
                f"loader.batch_size: {loader.batch_size} images are more than the {len(train)} training images; "
                f"accepted is 1 to {len(train)}"
            )
        self.train_set, self.validation_set, self.test_set = (
            self.source.train.subset(train),
            validation,
            self.source.test,
        )
        mean, std = self.source.mean, self.source.std
        if input_range:
            low, high = input_range
            mean, std = ((value / (high - low),) * self.source.channels for value in (-low, 1.0))
        elif mean is None or std is None:
            mean, std = pixel_statistics(self.train_set)
        self.to_input = ModelInput(image_size, data.fit, mean, std, self.source.background)
        self.augment = Augment(augment, self.to_input.background)

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
