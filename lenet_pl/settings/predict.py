"""Settings of `python -m lenet_pl.predict`."""

from typing import Annotated, Literal

from pydantic import Field

from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, Settings

Choice = Literal["auto"] | bool


class PhotoSettings(Settings):
    """Preprocessing of photos to the form of the training images; auto: as these need it."""

    invert: Choice
    """Whether light and dark are exchanged."""
    remove_background: Choice
    """Whether the background with its shadows and noise is removed."""
    center: Choice
    """Whether the image is cropped to the object, scaled as in the training images, and centered."""


class DigitsSettings(PhotoSettings):
    """Preprocessing of photos, which may contain several digits."""

    many: bool
    """Whether each digit is predicted; false: one, with a note if there are more."""


class PredictSettings(TrainedSettings):
    """The photos to classify."""

    images: LocalPath | Annotated[list[LocalPath], Field(min_length=1)]
    """Image files, directories or globs."""
    photo: DigitsSettings
    """Preparation of the images."""
