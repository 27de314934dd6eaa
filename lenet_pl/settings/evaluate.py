"""Settings of `python -m lenet_pl.evaluate`."""

from typing import Annotated, Literal

from pydantic import Field

from lenet_pl.settings.data import AnyDataSettings
from lenet_pl.settings.trained import Place, TrainedSettings
from lenet_pl.settings.types import Settings


class ViewSettings(Settings):
    """Views of each image whose probabilities are averaged; by default the image alone."""

    shift: Annotated[int, Field(ge=0, le=4)]  # px; moved by up to as many in each direction: 1 makes 9 views
    mirror: bool  # each view left-right too


class EvaluateSettings(TrainedSettings):
    """What the network is tested on."""

    run: Place | Annotated[list[Place], Field(min_length=1)] | None  # type: ignore[assignment]  # several: an ensemble
    views: ViewSettings
    data_root: str
    data: AnyDataSettings | None  # null: the data that it was trained on
    part: Literal["test", "validation"]
