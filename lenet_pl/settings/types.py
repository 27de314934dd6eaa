"""Ranges that settings share, and the class of all groups of settings."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=4096)]
Side = Annotated[int, Field(ge=4, le=512)]  # px
Degrees = Annotated[float, Field(ge=0, le=180)]
Metric = Literal["train/loss", "train/accuracy", "val/loss", "val/accuracy"]


class Settings(BaseModel):
    """A group of settings: unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
