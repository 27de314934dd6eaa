"""Settings that every verb takes which works on a trained run."""

from typing import Annotated

from pydantic import Field

from lenet_pl.settings.types import Settings

Place = Annotated[str, Field(min_length=1)]


class TrainedSettings(Settings):
    """Which network, and where the verb's files go."""

    run: Place | None  # folder of a run; its best checkpoint is taken
    ckpt: Place | None  # or one checkpoint file
    out: Place | None  # folder that receives the files; null: <run>/<verb>/<date>_<time>
    traceback: bool
