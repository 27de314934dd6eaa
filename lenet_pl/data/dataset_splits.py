"""A dataset with its official splits."""

from dataclasses import dataclass

from lenet_pl.data.image_dataset import ImageDataset


@dataclass(frozen=True)
class DatasetSplits:
    """A dataset with its official splits.

    Attributes:
        name: The name of the dataset.
        train: The training images, including the future validation images if `validation` is None.
        test: The test images.
        classes: The class names, in the order of the labels.
        mean: The mean per channel of training pixels scaled to [0, 1], or None if it is yet to be computed.
        std: The standard deviation per channel of training pixels scaled to [0, 1], or None.
        background: The gray level around the object, from 0 to 255.
        validation: The official validation images, or None if they are yet to be split off `train`.
        whole: All images in their original order if `test` is only a sample of them; None if it is an official split.
    """

    name: str
    train: ImageDataset
    test: ImageDataset
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    background: int = 0
    validation: ImageDataset | None = None
    whole: ImageDataset | None = None

    @property
    def splits(self) -> tuple[ImageDataset, ...]:
        """The official splits: training, validation if there is one, and test."""
        return tuple(split for split in (self.train, self.validation, self.test) if split is not None)

    @property
    def channels(self) -> int:
        """The number of channels: 1 for gray, 3 for color."""
        return self.train.array.shape[1]
