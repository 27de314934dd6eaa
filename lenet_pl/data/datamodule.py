"""The LightningDataModule: a dataset, its fixed splits and their loaders."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from lenet_pl.data.callable_augment import AnyAugment, CallableAugment, chain_augments, choose_augment, mixing_of
from lenet_pl.data.choose_data import choose_data
from lenet_pl.data.data_record import DataRecord
from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.loaded_data import LoadedData, build_preprocess, split_source
from lenet_pl.data.loader import BatchLoader
from lenet_pl.data.run_images import RunImages
from lenet_pl.data.trainer_state import epoch_counter, finished_batches, overfits, place_of
from lenet_pl.errors import SettingError
from lenet_pl.settings import SplitSettings


class ImageDataModule(lightning.LightningDataModule):
    """Training, validation and test split of a dataset, resized to the input size of the model.

    It works with any LightningModule in a plain `lightning.Trainer`. Batches are made on the training device, unpack as
    `images, labels = batch`, and depend on seed, epoch and step only. Without a trainer, the loaders make batches on
    the CPU, and each pass over `train_dataloader()` is an epoch.

    The data are available after `setup`, which a Trainer calls. Call `prepare_data` and `setup` before it if the model
    depends on `channels` or `num_classes`.

    Args:
        data: The name of a dataset, such as "mnist"; a pair of arrays or tensors (images, labels); a map-style torch
            `Dataset`; or two of them, training and test images; or three: training, validation and test images. What
            they may contain: see `dataset_from_arrays` and `dataset_from_torch`. Settings of a dataset are possible.
        root: The folder of published datasets; None for the environment variable LENET_PL_DATA, or "data".
        image_size: The height and width of the model's input in px.
        batch_size: The number of images per optimizer step, over all devices.
        eval_batch_size: The number of images per validation or test step, on each device.
        shuffle: Whether to draw a new order every epoch.
        drop_last: Whether to drop the last batch of an epoch if it is smaller than the others.
        augment: The random transforms of the training images; see `choose_augment`.
        resize_mode: "pad" adds background around smaller images, "resize" interpolates; None for that of the file in
            `conf/data/`, or "pad" for images of the caller.
        val_size: The number of validation images, or their fraction of the training images, if the dataset has no
            validation images; None for that of the file, or 0.15.
        split_method: "stratified", "random" or "last"; None for that of the file, or "stratified".
        seed: The seed of order and augmentation. The split does not depend on it.
        input_range: The model inputs for levels 0 and 255, for all channels or a pair for each; None to normalize to
            mean 0 and standard deviation 1.
        statistics: The mean and standard deviation per channel of pixels in [0, 1]; None for those of the training
            images.
        own: The recorded images of an existing run, to use the same ones again, or None for the dataset as it is.
        transforms: Further transforms of training batches after `augment`: functions as for `CallableAugment`.
        **options: Other settings of the dataset, such as `variant="letters"` of "emnist" or `path="pets"` of "folder";
            for images of the caller `classes`, `background` and `test_fraction`, see `splits_from_objects`.

    Raises:
        SettingError: If a name, setting or value is unknown or invalid.

    Example:
        >>> data = ImageDataModule("fashion", batch_size=64, augment={"degrees": 10})
        >>> lightning.Trainer(max_epochs=3).fit(model, data)
    """

    def __init__(
        self,
        data: Any,
        *,
        root: str | Path | None = None,
        image_size: int = 32,
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        shuffle: bool = True,
        drop_last: bool = False,
        augment: AnyAugment = None,
        resize_mode: str | None = None,
        val_size: int | float | None = None,
        split_method: str | None = None,
        seed: int = 0,
        input_range: Sequence[float] | Sequence[Sequence[float]] | None = None,
        statistics: tuple[Sequence[float], Sequence[float]] | None = None,
        own: RunImages | None = None,
        transforms: Sequence[Callable[[Tensor], Tensor] | CallableAugment] = (),
        **options: Any,
    ) -> None:
        super().__init__()
        self.data = choose_data(data, root, resize_mode, val_size, split_method, own, options)
        self.image_size, self.batch_size, self.eval_batch_size = image_size, batch_size, eval_batch_size
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.input_range, self.statistics = input_range, statistics
        self.given_augment, self.transforms = augment, transforms
        choose_augment(augment)  # fail before anything is downloaded
        self._loaded: LoadedData | None = None

    def prepare_data(self) -> None:
        """Download missing files of a published dataset. A Trainer calls this in one process per machine.

        Raises:
            DataError: If a file is unavailable.
        """
        if self._loaded is None:
            self.data.download()

    def setup(self, stage: str | None = None) -> None:
        """Load and split the dataset, once. A Trainer calls this in every process.

        Args:
            stage: Not used: all splits are loaded.

        Raises:
            DataError: If files are missing or corrupt, or images or labels are unsuitable.
            SettingError: If the split or the batch size does not fit the dataset.
        """
        if self._loaded is not None:
            return
        self.arrange(self.data.load(self.image_size))

    def arrange(self, loaded: LoadedData) -> None:
        """Take a dataset that is loaded, such as by another process, and build its transforms."""
        # An existing run may be evaluated without its training images
        if len(loaded.train_set) and not 1 <= self.batch_size <= len(loaded.train_set):
            raise SettingError(
                f"loader.batch_size: got {self.batch_size} for {len(loaded.train_set)} training images; "
                f"must be 1 to {len(loaded.train_set)}"
            )
        fit = self.data.settings.resize_mode
        self.preprocess = build_preprocess(loaded, self.image_size, fit, self.input_range, self.statistics)
        augment = choose_augment(self.given_augment, self.preprocess.background, self.preprocess.mean)
        self.augment = chain_augments(augment, self.transforms)
        self.mixing = mixing_of(augment)
        self._loaded = loaded

    def with_seed(self, seed: int) -> "ImageDataModule":
        """Return a copy with the same images and another seed of order and augmentation."""
        other = copy.copy(self)
        other.seed = seed
        return other

    def with_split(self, settings: SplitSettings, own: RunImages | None = None) -> "ImageDataModule":
        """Return a copy with the same images, split differently.

        Args:
            settings: The split, such as another fold.
            own: The recorded images of an existing run with this split, or None.
        """
        other = copy.copy(self)
        other.data = self.data.with_split(settings)
        other.arrange(split_source(self.source, other.data.settings, own))
        return other

    @property
    def loaded(self) -> LoadedData:
        """The dataset and its splits; RuntimeError before `setup`."""
        if self._loaded is None:
            raise RuntimeError("ImageDataModule has no data yet; call prepare_data() and setup() first")
        return self._loaded

    @property
    def source(self) -> DatasetSplits:
        """The dataset with its official splits."""
        return self.loaded.source

    @property
    def record(self) -> DataRecord | None:
        """The record of the images in each split; None for a published dataset."""
        return self.loaded.record

    @property
    def train_set(self) -> ImageDataset:
        """The training images."""
        return self.loaded.train_set

    @property
    def validation_set(self) -> ImageDataset:
        """The validation images."""
        return self.loaded.validation_set

    @property
    def test_set(self) -> ImageDataset:
        """The test images."""
        return self.loaded.test_set

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the labels."""
        return self.source.classes

    @property
    def num_classes(self) -> int:
        """The number of classes, K."""
        return len(self.classes)

    @property
    def channels(self) -> int:
        """The number of channels: 1 for gray, 3 for color."""
        return self.source.channels

    def class_weights(self) -> Tensor:
        """Compute balanced weights of the classes, float (K,); see `LoadedData.class_weights`."""
        return self.loaded.class_weights()

    def example_input(self) -> Tensor:
        """Return a model input of zeros, float of shape (1, C, H, W)."""
        return torch.zeros(1, self.channels, self.image_size, self.image_size)

    def train_dataloader(self) -> BatchLoader:
        device, rank, world_size = place_of(self.trainer)
        return BatchLoader(
            self.train_set.to(device),
            self.batch_size,
            self.preprocess.to(device),
            augment=self.augment,
            mixing=self.mixing,
            shuffle=self.shuffle and not overfits(self.trainer),
            drop_last=self.drop_last,
            seed=self.seed,
            epoch=epoch_counter(self.trainer),
            first=lambda: finished_batches(self.trainer),
            rank=rank,
            world_size=world_size,
            device=device,
        )

    def val_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.validation_set)

    def test_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_set)

    def predict_dataloader(self) -> BatchLoader:
        return self._evaluation_loader(self.test_set)

    def _evaluation_loader(self, images: ImageDataset) -> BatchLoader:
        """Assign a contiguous share of the images to each rank, so that every image is scored exactly once."""
        device, rank, world_size = place_of(self.trainer)
        if world_size > len(images):
            raise SettingError(
                f"trainer.devices: got {world_size} for {len(images)} images; must be at most one device per image"
            )
        share = slice(rank * len(images) // world_size, (rank + 1) * len(images) // world_size)
        return BatchLoader(
            images.subset(torch.arange(len(images))[share]).to(device),
            self.eval_batch_size,
            self.preprocess.to(device),
            device=device,
        )
