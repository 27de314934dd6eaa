"""Settings of `python -m lenet_pl.predict`."""

from typing import Annotated, Literal

from pydantic import Field

from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, Settings

Choice = Literal["auto"] | bool


class PhotoSettings(Settings):
    """How a photo comes to look like the images that the network was trained on; auto: as they need it."""

    invert: Choice  # light becomes dark
    clean: Choice  # take out the background, its shadows and its noise
    centre: Choice  # crop to the object, bring it to the size that it has in the training images, and centre it


class DigitsSettings(PhotoSettings):
    """How many digits a photo holds, too."""

    many: bool  # predict each digit; false: one, with a note if more are seen


class PredictSettings(TrainedSettings):
    """Which photos, by which network."""

    images: LocalPath | Annotated[list[LocalPath], Field(min_length=1)]  # file, directory or glob, or several
    photo: DigitsSettings
