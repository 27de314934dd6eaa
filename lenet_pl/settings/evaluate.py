"""Settings of `python -m lenet_pl.evaluate`."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, field_validator

from lenet_pl.settings.data import AnyDataSettings, DataSettings, RunDataSettings
from lenet_pl.settings.trained import TrainedSettings
from lenet_pl.settings.types import LocalPath, Report, Settings


class TtaSettings(Settings):
    """Test-time augmentation (TTA): the mean of the probabilities over shifted and mirrored copies of each image."""

    shift: Annotated[int, Field(ge=0, le=4)]
    """Largest shift in each direction in px; 1 makes 9 copies of an image."""
    hflip: bool
    """Whether each copy is also flipped horizontally, which doubles their number."""


CorruptionName = Literal[
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "shear",
    "scale",
    "rotate",
    "brightness",
    "translate",
    "stripe",
    "fog",
    "spatter",
    "dotted_line",
    "zigzag",
    "canny_edges",
]
ShiftName = Literal["translate", "rotate", "scale", "shear"]
Amounts = Field(min_length=1)


class ShiftAmounts(Settings):
    """Amounts of the systematic shifts."""

    translate: Annotated[list[Annotated[float, Field(ge=0, le=1024)]], Amounts]
    """Distances to the right, left, up and down, in px of the stored image."""
    rotate: Annotated[list[Annotated[float, Field(ge=-180, le=180)]], Amounts]
    """Clockwise angles, in degrees."""
    scale: Annotated[list[Annotated[float, Field(ge=0.05, le=20)]], Amounts]
    """Factors of the size of the object; below 1 it gets smaller."""
    shear: Annotated[list[Annotated[float, Field(gt=-90, lt=90)]], Amounts]
    """Angles of the horizontal shear, in degrees."""

    @field_validator("*")
    @classmethod
    def _check_repeated(cls, amounts: list[float]) -> list[float]:
        if len(set(amounts)) < len(amounts):
            raise ValueError("must contain each amount only once")
        return sorted(amounts)

    def of(self, shift: ShiftName) -> list[float]:
        """Return the amounts of a shift, in ascending order."""
        amounts: list[float] = getattr(self, shift)
        return amounts


def _whose(data: Any) -> str:
    return "another" if isinstance(data, DataSettings) or (isinstance(data, dict) and "name" in data) else "own"


class EvaluateSettings(TrainedSettings):
    """The data on which the network is tested."""

    run: LocalPath | Annotated[list[LocalPath], Field(min_length=1)] | None  # type: ignore[assignment]
    """Run folder, or several: an ensemble."""
    tta: TtaSettings
    """Test-time augmentation."""
    data_root: LocalPath
    """Folder in which datasets are looked for and downloaded to."""
    data: Annotated[
        Annotated[RunDataSettings, Tag("own")] | Annotated[AnyDataSettings, Tag("another")], Discriminator(_whose)
    ]
    """Data that the network was trained on, or another set of the same classes."""
    split: Literal["test", "val"]
    """Split on which the network is tested."""

    corruptions: bool | Annotated[list[CorruptionName], Field(min_length=1)]
    """Whether the network is also tested on corrupted copies of the images, or the kinds of corruption."""
    severities: Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]
    """Severities of the corruptions, from 1 to 5."""
    shifts: bool | Annotated[list[ShiftName], Field(min_length=1)]
    """Whether the network is also tested on systematically shifted copies of the images, or the kinds of shift."""
    shift_amounts: ShiftAmounts
    """Amounts of the systematic shifts."""

    report: Report
    """Figures: full: all, light: the confusion matrix, none: none."""

    @field_validator("corruptions", "severities", "shifts")
    @classmethod
    def _check_repeated(cls, chosen: Any) -> Any:
        if isinstance(chosen, list) and len(set(chosen)) < len(chosen):
            raise ValueError("must name each only once")
        return chosen

    @field_validator("data", mode="before")
    @classmethod
    def _check_data(cls, data: Any) -> Any:
        """Drop the settings of the run's own data if another dataset is given."""
        if not isinstance(data, dict) or data.get("name") is None:
            return data
        if data.get("accept_changes"):
            raise ValueError(
                "got accept_changes=true with another dataset; must be false, as it applies to the run's own data"
            )
        own = data["name"] in ("folder", "arrays")
        return data if own else {key: value for key, value in data.items() if key != "accept_changes"}

    @property
    def chosen_corruptions(self) -> list[CorruptionName]:
        """The kinds of corruption on which the network is tested; none without `corruptions`."""
        if isinstance(self.corruptions, list):
            return self.corruptions
        return list(get_args(CorruptionName)) if self.corruptions else []

    @property
    def chosen_shifts(self) -> list[ShiftName]:
        """The kinds of systematic shift on which the network is tested; none without `shifts`."""
        if isinstance(self.shifts, list):
            return self.shifts
        return list(get_args(ShiftName)) if self.shifts else []

    @property
    def other_data(self) -> DataSettings | None:
        """The settings of another dataset; None for the data of the run."""
        return self.data if isinstance(self.data, DataSettings) else None

    @property
    def accept_changes(self) -> bool:
        """Whether changed data are accepted, as long as they contain the images of the run."""
        return isinstance(self.data, RunDataSettings) and self.data.accept_changes
