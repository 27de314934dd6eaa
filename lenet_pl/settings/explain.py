"""Settings of `python -m lenet_pl.explain`."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lenet_pl.settings.data import RunDataSettings
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import Count, LocalPath

Method = Literal["filters", "feature_maps", "grad_cam", "integrated_gradients", "occlusion"]
MOST = 60  # images; a picture of more could not be looked at


class ExplainSettings(TrainedSettings):
    """Which images are explained, and how."""

    data: RunDataSettings
    images: (
        LocalPath | Annotated[list[LocalPath], Field(min_length=1, max_length=MOST)] | None
    )  # file, directory or glob
    photo: PhotoSettings
    indices: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST)] | None  # of test images
    count: Annotated[int, Field(ge=1, le=MOST)]  # at most so many test images are chosen where none are named
    methods: Annotated[list[Method], Field(min_length=1)]
    steps: Annotated[int, Field(ge=1, le=1000)]  # of integrated gradients, from background to image
    window: Count  # px of the network's input, side of the square that covers a place
    stride: Count  # px from one place to the next
    tensorboard: bool  # the pictures there, too

    @field_validator("indices")
    @classmethod
    def _images_are_named_once(cls, indices: list[int] | None, info: ValidationInfo) -> list[int] | None:
        if indices is not None and info.data.get("images") is not None:
            raise ValueError(f"got {indices} beside images={info.data['images']}; accepted is one of the two")
        return indices
