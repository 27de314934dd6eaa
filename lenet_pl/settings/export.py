"""Settings of `python -m lenet_pl.export`."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, field_validator

from lenet_pl.settings.data import RunDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import PositiveInt, Threads

Format = Literal["torch_export", "onnx", "safetensors"]


class ExportSettings(TrainedSettings):
    """The files to write, and how they are checked and timed."""

    data: RunDataSettings
    """Use of the run's own data."""
    formats: Annotated[list[Format], Field(min_length=1)]
    """File formats."""
    opset: Annotated[int, Field(ge=18, le=25)]
    """Version of the ONNX operators."""
    num_images: PositiveInt
    """Largest number of test images on which each file is compared with the checkpoint."""
    atol: PositiveFloat
    """Largest absolute difference of a logit."""
    batch_sizes: Annotated[list[PositiveInt], Field(min_length=1)]
    """Images that are classified at once in the timing."""
    repeats: PositiveInt
    """Repetitions of each timing, of which the median is reported."""
    min_run_time: PositiveFloat
    """Seconds per file, batch size and repetition."""
    num_threads: Threads
    """Intra-op threads; null: as many as torch finds."""

    @field_validator("formats")
    @classmethod
    def _check_formats(cls, formats: list[Format]) -> list[Format]:
        if len(set(formats)) < len(formats):
            raise ValueError(f"got {formats}; must name each format once")
        return formats
