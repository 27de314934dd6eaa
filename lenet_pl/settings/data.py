"""Settings of the group `data` and of `loader`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from lenet_pl.plugins.registry import register_own
from lenet_pl.settings.parts import PLUGGED, Part
from lenet_pl.settings.roles import Role
from lenet_pl.settings.types import Fraction, ImageSize, LocalPath, PositiveInt, Settings


def _check_val_size(size: int | float) -> int | float:
    """Check the range here, because the error of a union of two types would list both ranges."""
    if size >= 1 if isinstance(size, int) else 0 < size < 1:
        return size
    raise ValueError(f"got {size}; must be a number of images from 1, or a fraction greater than 0 and less than 1")


Root = Annotated[LocalPath, Role.LOCATION]
Download = Annotated[bool, Role.MACHINE]
AcceptChanges = Annotated[bool, Role.COMMAND]
Path = Annotated[LocalPath, Role.EVALUATION]
GrayLevel = Annotated[int, Field(ge=0, le=255)]


class FoldSettings(Settings):
    """One fold of a cross-validation, which is the test split; `folds` of the training sets it."""

    number: Annotated[PositiveInt, Role.SEED]
    """Number of the fold, from 1."""
    of: Annotated[int, Field(ge=2, le=1000)]
    """Number of folds."""
    group: Annotated[str, Field(min_length=1)] | None
    """Key of the images that stay in one fold; null: each image alone."""

    @model_validator(mode="after")
    def _check_number(self) -> "FoldSettings":
        if self.number > self.of:
            raise ValueError(f"got fold {self.number} of {self.of}; must be 1 to {self.of}")
        return self


class SplitSettings(Settings):
    """The split of the training images into training and validation, which is the same for every seed."""

    method: Literal["last", "stratified", "random"]
    """Which training images are held out for validation."""
    val_size: Annotated[int | float, AfterValidator(_check_val_size)]
    """Number of validation images, or their fraction of the training images."""
    fold: FoldSettings | None
    """Fold of a cross-validation; null: the dataset's own test split."""


class DataSettings(Settings):
    """The settings of every dataset."""

    split: Annotated[SplitSettings, Role.EVALUATION]
    """Split of the training images into training and validation."""
    resize_mode: Literal["pad", "resize"]
    """How smaller images reach the model's size: padding with background, or resizing."""
    name: Annotated[str, Role.EVALUATION]
    """Name of the dataset."""


class NamedDataSettings(DataSettings):
    """A published dataset that comes as files."""

    name: Annotated[Literal["mnist", "fashion", "kmnist", "qmnist", "usps", "cifar10"], Role.EVALUATION]
    """Published dataset, a key of `data.published.PUBLISHED`."""
    root: Root
    """Folder in which datasets are looked for and downloaded to."""
    download: Download
    """Whether absent files are downloaded."""


class EmnistDataSettings(DataSettings):
    """EMNIST, one of its six splits."""

    name: Annotated[Literal["emnist"], Role.EVALUATION]
    """Choice of the group `data`."""
    variant: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"]
    """Split of EMNIST."""
    root: Root
    """Folder in which datasets are looked for and downloaded to."""
    download: Download
    """Whether absent files are downloaded."""


class DigitsDataSettings(DataSettings):
    """The handwritten digits that scikit-learn ships."""

    name: Annotated[Literal["digits"], Role.EVALUATION]
    """Choice of the group `data`."""


class FolderDataSettings(DataSettings):
    """The user's own images, one directory for each class."""

    name: Annotated[Literal["folder"], Role.EVALUATION]
    """Choice of the group `data`."""
    display_name: Annotated[str, Field(min_length=1)]
    """Name of the dataset in results and plots."""
    path: Path
    """Directory of class directories, or of split directories (train, val, test) with class directories."""
    test_path: Annotated[LocalPath | None, Role.EVALUATION]
    """Directory of test images; null: the test directory in `path`, else a fraction of `path`."""
    layout: Literal["auto", "classes"]
    """Meaning of directories; classes: each one is a class, whatever its name and content."""
    test_fraction: Fraction
    """Fraction of each class that becomes the test split where there is no test directory."""
    image_size: ImageSize | None
    """Size to which images are brought on reading, in px; null: the model's image size."""
    color_mode: Literal["auto", "gray", "rgb"]
    """Channels of the images; auto: gray if every image is."""
    background: GrayLevel
    """Gray level of the background, which padding continues, 0 to 255."""
    skip_unreadable: bool
    """Whether files that cannot be read as images are left out."""
    accept_changes: AcceptChanges
    """Whether a resumed run continues with its own images if others were added, removed or replaced since."""


class ArraysDataSettings(DataSettings):
    """The user's own NumPy files, which may be larger than the memory."""

    name: Annotated[Literal["arrays"], Role.EVALUATION]
    """Choice of the group `data`."""
    display_name: Annotated[str, Field(min_length=1)]
    """Name of the dataset in results and plots."""
    path: Path
    """Folder of train_images.npy, train_labels.npy, test_images.npy and test_labels.npy."""
    in_memory: bool
    """Whether all images are read at once; false: memory-mapped."""
    background: GrayLevel
    """Gray level of the background, which padding continues, 0 to 255."""
    accept_changes: AcceptChanges
    """Whether a resumed run continues with its own images if others were added, removed or replaced since."""


class FakeDataSettings(DataSettings):
    """Seeded noise around one pattern for each class, for tests."""

    name: Annotated[Literal["fake"], Role.EVALUATION]
    """Choice of the group `data`."""
    num_images: PositiveInt
    """Number of training and validation images."""
    test_images: PositiveInt
    """Number of test images."""
    classes: Annotated[int, Field(ge=2, le=1000)]
    """Number of classes."""
    channels: Literal[1, 3]
    """Channels of an image: 1 for gray, 3 for color."""
    image_size: ImageSize
    """Height and width of an image in px."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the images."""


class RunDataSettings(Settings):
    """Settings of a command that uses the data of a run."""

    accept_changes: AcceptChanges
    """Whether the run's own test images are used where others were added, removed or replaced since."""


AnyDataSettings = Annotated[DataSettings, Part("data")]
PLUGGED["data"] = DataSettings
for _name in ("mnist", "fashion", "kmnist", "qmnist", "usps", "cifar10"):
    register_own("data", _name, "lenet_pl.data.sources:load_published", NamedDataSettings)
register_own("data", "emnist", "lenet_pl.data.sources:load_published", EmnistDataSettings)
register_own("data", "digits", "lenet_pl.data.sources:load_digits", DigitsDataSettings)
register_own("data", "folder", "lenet_pl.data.sources:load_folder", FolderDataSettings)
register_own("data", "arrays", "lenet_pl.data.sources:load_arrays", ArraysDataSettings)
register_own("data", "fake", "lenet_pl.data.sources:load_fake", FakeDataSettings)


class LoaderSettings(Settings):
    """Batch sizes and the order of the images."""

    batch_size: PositiveInt
    """Images per optimizer step."""
    eval_batch_size: PositiveInt
    """Images per validation or test step."""
    shuffle: bool
    """Whether every epoch has a new order."""
    drop_last: bool
    """Whether the last, smaller batch of an epoch is left out."""
