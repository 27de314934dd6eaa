"""Types shared by settings, and the base class of all settings."""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def cores() -> int:
    """Count the cores of this machine."""
    return os.cpu_count() or 1


def _check_num_threads(threads: int | None) -> int | None:
    if threads is not None and threads > cores():  # torch would start them all, and one more waits for each
        raise ValueError(f"got {threads}; must be null, or 1 to {cores()}, the cores of this machine")
    return threads


def expand_home(path: str) -> str:
    """Replace a leading ~ or ~user by that user's home directory.

    Raises:
        ValueError: There is no such user.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser drops a trailing slash and a leading ./
    if path.startswith("~") and expanded == path:
        user = path.partition("/")[0]
        raise ValueError(f"got {path!r}; must be a path, and there is no user {user[1:] or 'with a home directory'}")
    return expanded


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(expand_home)]  # ~ is the home directory
Probability = Annotated[float, Field(ge=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]  # pydantic's own, but errors say "greater than or equal to 1"
Fraction = Annotated[float, Field(gt=0, lt=1)]
Threads = Annotated[PositiveInt | None, AfterValidator(_check_num_threads)]
LayerWidth = Annotated[int, Field(ge=1, le=4096)]  # channels of a convolution
ImageSize = Annotated[int, Field(ge=4, le=512)]  # px, height and width
LearningRate = Annotated[float, Field(gt=0, le=1000)]
Factor = Annotated[float, Field(gt=0, le=1)]
Degrees = Annotated[float, Field(ge=0, le=180)]
Report = Literal["full", "light", "none"]
Metric = Literal["train/loss", "train/accuracy", "val/loss", "val/accuracy"]


class Settings(BaseModel):
    """A group of settings. Unknown keys, wrong types, NaN and infinity are errors.

    The docstring under a field is its description: a noun phrase with the unit.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        defer_build=True,  # only the classes that a command validates are built
    )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the settings with some values changed.

        Raises:
            TypeError: A key is not a setting; pydantic would keep the value under a name that nobody reads.
        """
        if unknown := set(update or {}) - type(self).model_fields.keys():
            raise TypeError(f"{type(self).__name__} has no settings {', '.join(sorted(unknown))}")
        return super().model_copy(update=update, deep=deep)


class PartSettings(Settings):
    """The settings of a registered part, such as an optimizer."""

    name: str
    """Name of the part."""
