"""Settings of `python -m lenet_pl.explain`."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from lenet_pl.settings.data import RunDataSettings
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, PositiveInt

Method = Literal["filters", "feature_maps", "grad_cam", "integrated_gradients", "occlusion"]
MOST = 60  # images; a picture of more could not be looked at


class ExplainSettings(TrainedSettings):
    """The images to explain, and the methods."""

    data: RunDataSettings
    """Use of the run's own data."""
    images: LocalPath | Annotated[list[LocalPath], Field(min_length=1, max_length=MOST)] | None
    """Image files, directories or globs."""
    photo: PhotoSettings
    """Preparation of these images."""
    indices: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=MOST)] | None
    """Indices of test images."""
    num_images: Annotated[int, Field(ge=1, le=MOST)]
    """Largest number of test images that are chosen where none are named."""
    methods: Annotated[list[Method], Field(min_length=1)]
    """Attribution methods."""
    n_steps: Annotated[int, Field(ge=1, le=1000)]
    """Steps of integrated gradients from background to image."""
    window_size: PositiveInt
    """Side of the occluded square, in px of the network's input."""
    stride: PositiveInt
    """Distance between two positions of the square, in px."""
    tensorboard: bool
    """Whether the plots are written for TensorBoard too."""

    @field_validator("indices")
    @classmethod
    def _check_indices(cls, indices: list[int] | None, info: ValidationInfo) -> list[int] | None:
        if indices is not None and info.data.get("images") is not None:
            raise ValueError(f"got {indices} with images={info.data['images']}; set only one of them")
        return indices
