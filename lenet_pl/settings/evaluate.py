"""Settings of `python -m lenet_pl.evaluate`."""

from typing import Annotated, Literal

from pydantic import Field

from lenet_pl.settings.data import AnyDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, Settings


class ViewSettings(Settings):
    """Views of each image whose probabilities are averaged; by default the image alone."""

    shift: Annotated[int, Field(ge=0, le=4)]  # px; moved by up to as many in each direction: 1 makes 9 views
    mirror: bool  # each view left-right too


class EvaluateSettings(TrainedSettings):
    """What the network is tested on."""

    run: LocalPath | Annotated[list[LocalPath], Field(min_length=1)] | None  # type: ignore[assignment]  # several: an ensemble
    views: ViewSettings
    data_root: LocalPath
    data: AnyDataSettings | None  # null: the data that it was trained on
    part: Literal["test", "validation"]
