"""Settings of `python -m lenet_pl.evaluate`."""

from typing import Literal

from lenet_pl.settings.data import AnyDataSettings
from lenet_pl.settings.trained import TrainedSettings


class EvaluateSettings(TrainedSettings):
    """What the network is tested on."""

    data_root: str
    data: AnyDataSettings | None  # null: the data that it was trained on
    part: Literal["test", "validation"]
