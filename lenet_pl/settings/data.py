"""Settings of the groups `data`, `augment` and of `loader`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lenet_pl.settings.types import Count, Degrees, LocalPath, Probability, Settings, Share, Side


def _images_or_share(validation: int | float) -> int | float:
    """Refuse what is neither; a union of two ranges would say "1 or more or greater than 0"."""
    if validation >= 1 if isinstance(validation, int) else 0 < validation < 1:
        return validation
    raise ValueError(
        f"got {validation}; accepted is an integer from 1, of images, or a share greater than 0 and less than 1"
    )


class SplitSettings(Settings):
    """How validation images are taken from the training part; the same for every seed of a run."""

    method: Literal["last", "stratified", "random"]
    validation: Annotated[int | float, AfterValidator(_images_or_share)]  # images, or share of the training part


class DataSettings(Settings):
    """What every data set has."""

    split: SplitSettings
    fit: Literal["pad", "resize"]  # how an image that is smaller than the model wants gets there


class NamedDataSettings(DataSettings):
    """A published data set that comes as files."""

    name: Literal["mnist", "fashion", "kmnist", "qmnist", "usps", "cifar10"]  # keys of catalogue.PUBLISHED
    root: LocalPath  # folder in which data sets are looked for and downloaded to
    download: bool


class EmnistDataSettings(DataSettings):
    """EMNIST, one of its six splits."""

    name: Literal["emnist"]
    variant: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"]
    root: LocalPath
    download: bool


class DigitsDataSettings(DataSettings):
    """The handwritten digits that scikit-learn ships."""

    name: Literal["digits"]


class FolderDataSettings(DataSettings):
    """The user's own images, one directory for each class."""

    name: Literal["folder"]
    title: Annotated[str, Field(min_length=1)]  # what results and pictures call the set
    path: LocalPath  # directories of classes, or of parts (train, val, test) with directories of classes
    test_path: LocalPath | None  # null: the test directory in `path`, else a share of `path`
    layout: Literal["auto", "classes"]  # classes: each directory is a class, whatever its name and content
    test_fraction: Share  # share of each class that becomes the test part where there is no test directory
    image_size: Side | None  # px to which images are brought on reading; null: what the model wants
    colour: Literal["auto", "grey", "rgb"]
    background: Annotated[int, Field(ge=0, le=255)]  # grey level around the object
    skip_unreadable: bool
    accept_changes: bool  # go on with the run's own images where others have changed; of the command, not of the run


class ArraysDataSettings(DataSettings):
    """The user's own NumPy files, which may be larger than the memory."""

    name: Literal["arrays"]
    title: Annotated[str, Field(min_length=1)]  # what results and pictures call the set
    path: LocalPath  # folder of train_images.npy, train_labels.npy and the same for test
    in_memory: bool  # read all at once, or memory-map the images
    background: Annotated[int, Field(ge=0, le=255)]  # grey level around the object
    accept_changes: bool  # as for a folder


class FakeDataSettings(DataSettings):
    """Seeded noise around one pattern for each class, for tests."""

    name: Literal["fake"]
    images: Count  # training and validation
    test_images: Count
    classes: Annotated[int, Field(ge=2, le=1000)]
    channels: Literal[1, 3]
    image_size: Side  # px
    seed: Annotated[int, Field(ge=0)]


class RunDataSettings(Settings):
    """What a verb takes that uses the data of a run."""

    accept_changes: bool  # take the run's own test images where others were added, removed or replaced since


AnyDataSettings = Annotated[
    NamedDataSettings
    | EmnistDataSettings
    | DigitsDataSettings
    | FolderDataSettings
    | ArraysDataSettings
    | FakeDataSettings,
    Field(discriminator="name"),
]


class LoaderSettings(Settings):
    """How images become batches."""

    batch_size: Count  # images per optimiser step
    eval_batch_size: Count  # images per validation or test step
    shuffle: bool
    drop_last: bool  # leave out the last, smaller batch of an epoch


class AugmentSettings(Settings):
    """Strengths of the random transforms; 0 switches one off. Each image draws its own parameters."""

    rotation: Degrees  # ± degrees
    translation: Annotated[float, Field(ge=0, le=1)]  # ± share of the side
    scale: Probability  # ± share
    squeeze: Probability  # ± share: wider and flatter, or narrower and taller
    shear: Annotated[float, Field(ge=0, lt=80)]  # ± degrees, horizontal
    crop_padding: Annotated[int, Field(ge=0, le=256)]  # px added on each side before a random crop to the old size
    flip: Annotated[float, Field(ge=0, le=1)]  # probability of a left-right mirror
    brightness: Probability  # ± share
    contrast: Probability  # ± share
    saturation: Probability  # ± share; colour images only
    erasing: Annotated[float, Field(ge=0, le=1)]  # probability of a rectangle painted over, in one random colour
