"""Settings of `python -m lenet_pl.evaluate`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from lenet_pl.settings.data import AnyDataSettings, DataSettings, RunDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, Settings


class ViewSettings(Settings):
    """Views of each image whose probabilities are averaged; by default the image alone."""

    shift: Annotated[int, Field(ge=0, le=4)]  # px; moved by up to as many in each direction: 1 makes 9 views
    mirror: bool  # each view left-right too


def _whose(data: Any) -> str:
    return "another" if isinstance(data, DataSettings) or (isinstance(data, dict) and "name" in data) else "own"


class EvaluateSettings(TrainedSettings):
    """What the network is tested on."""

    run: LocalPath | Annotated[list[LocalPath], Field(min_length=1)] | None  # type: ignore[assignment]  # several: an ensemble
    views: ViewSettings
    data_root: LocalPath
    data: Annotated[
        Annotated[RunDataSettings, Tag("own")] | Annotated[AnyDataSettings, Tag("another")], Discriminator(_whose)
    ]  # those that it was trained on, or another set
    part: Literal["test", "validation"]

    @field_validator("data", mode="before")
    @classmethod
    def _another_set_is_taken_as_it_is(cls, data: Any) -> Any:
        """Leave out of another set's settings what the verb has of the run's own."""
        if not isinstance(data, dict) or data.get("name") is None:
            return data
        if data.get("accept_changes"):
            raise ValueError(
                "got accept_changes=true, which is for the run's own data, beside another set; accepted is one of the "
                "two"
            )
        own = data["name"] in ("folder", "arrays")
        return data if own else {key: value for key, value in data.items() if key != "accept_changes"}

    @property
    def other_data(self) -> DataSettings | None:
        """Settings of another set than that of the run; None if it is that."""
        return self.data if isinstance(self.data, DataSettings) else None

    @property
    def accept_changes(self) -> bool:
        """Whether the run's own images are taken out of its data if these have changed."""
        return isinstance(self.data, RunDataSettings) and self.data.accept_changes
