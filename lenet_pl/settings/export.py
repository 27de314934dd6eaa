"""Settings of `python -m lenet_pl.export`."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, field_validator

from lenet_pl.settings.data import RunDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, PositiveInt, Settings, Threads

Format = Literal["torch_export", "onnx", "safetensors", "int8", "c", "page"]


class Int8Settings(Settings):
    """Quantization to 8 bits, for the formats `int8` and `c`."""

    num_images: PositiveInt
    """Largest number of training images for calibration, at equal distances in the dataset."""
    calibration: Literal["minmax", "percentile"]
    """Choice of the range of each activation."""
    percentile: Annotated[float, Field(gt=50, lt=100)]
    """Percentage of the values that are in the range, with percentile."""
    reduce_range: bool
    """Whether weights have 7 bits instead of 8."""
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)]
    """Largest loss of validation accuracy, as a fraction."""


class CSettings(Settings):
    """The C file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=31)] | None
    """Prefix of the names in the C file; null: model and dataset."""


class PageSettings(Settings):
    """The HTML page."""

    texts: LocalPath | None
    """JSON file with the texts in another language; null: English."""


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
    int8: Int8Settings
    """Quantization to 8 bits."""
    c: CSettings
    """C file."""
    page: PageSettings
    """HTML page."""
    num_threads: Threads
    """Intra-op threads; null: as many as torch finds."""

    @field_validator("run", mode="before")
    @classmethod
    def _check_run(cls, run: Any) -> Any:
        if isinstance(run, list):
            raise ValueError(f"got an ensemble of {len(run)} runs; must be one run, because a file has one network")
        return run

    @field_validator("formats")
    @classmethod
    def _check_formats(cls, formats: list[Format]) -> list[Format]:
        if len(set(formats)) < len(formats):
            raise ValueError(f"got {formats}; must name each format once")
        return formats
