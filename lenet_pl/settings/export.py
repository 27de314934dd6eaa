"""Settings of `python -m lenet_pl.export`."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lenet_pl.settings.data import RunDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import Count, Positive, Threads

Format = Literal["torch_export", "onnx", "safetensors"]


class ExportSettings(TrainedSettings):
    """Which files are written, and how they are checked and timed."""

    data: RunDataSettings
    formats: Annotated[list[Format], Field(min_length=1)]
    opset: Annotated[int, Field(ge=18, le=25)]  # version of the ONNX operators
    images: Count  # test images on which each file is compared with the checkpoint, at most
    tolerance: Positive  # largest difference of a logit that is accepted
    batch_sizes: Annotated[list[Count], Field(min_length=1)]  # images that are classified at once when timed
    rounds: Count
    seconds: Positive  # per file, batch size and round
    threads: Threads

    @field_validator("formats")
    @classmethod
    def _each_once(cls, formats: list[Format]) -> list[Format]:
        if len(set(formats)) < len(formats):
            raise ValueError(f"got {formats}; accepted is each format once")
        return formats
