"""Settings of `python -m lenet_pl.demo`."""

from typing import Annotated

from pydantic import Field

from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath


class DemoSettings(TrainedSettings):
    """The networks to show, and the address of the page."""

    run: LocalPath | Annotated[list[LocalPath], Field(min_length=1)] | None  # type: ignore[assignment]
    """Run folder, or several whose networks are shown next to each other."""
    host: Annotated[str, Field(min_length=1)]
    """Address that the server listens on."""
    port: Annotated[int, Field(ge=0, le=65535)]
    """Port of the server; 0: any free one."""
    photo: PhotoSettings
    """Preparation of drawings and photos."""
