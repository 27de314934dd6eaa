"""Types of the settings of fine-tuning."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from lenet_pl.settings.types import PositiveInt


def _check_source(value: str | bool | None, info: ValidationInfo) -> str | bool | None:
    if value is not None and info.data.get("init_from", "") is None:
        shown = str(value).lower()
        raise ValueError(f"got {shown} without init_from; must be null, or init_from=<run folder or checkpoint>")
    return value


def _check_unfreeze_after(epochs: int | None, info: ValidationInfo) -> int | None:
    if epochs is not None and info.data.get("freeze") == []:
        raise ValueError(f"got {epochs} without frozen layers; must be null, or freeze=[<layers>]")
    return epochs


def _check_decay(decay: float | dict[str, float] | None) -> float | dict[str, float] | None:
    if isinstance(decay, float) and not 0 < decay <= 1:
        raise ValueError(f"got {decay}; must be greater than 0, up to 1, or a mapping of layers to factors")
    return decay


Layers = Annotated[str, Field(min_length=1)]  # a name or pattern, such as features, features.conv1 or *.norm*
Factor = Annotated[float, Field(gt=0, le=1000)]
Sha256 = Annotated[Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None, AfterValidator(_check_source)]
ResetHead = Annotated[bool | None, AfterValidator(_check_source)]
UnfreezeAfter = Annotated[PositiveInt | None, AfterValidator(_check_unfreeze_after)]
LayerDecay = Annotated[float | dict[Layers, Factor] | None, AfterValidator(_check_decay)]
