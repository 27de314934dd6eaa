"""Types and checks of the settings of k-fold cross-validation."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from lenet_pl.settings.data import AnyDataSettings


def _check_alone(folds: int | None, info: ValidationInfo) -> int | None:
    if folds is not None and info.data.get("seeds") is not None:
        raise ValueError(
            f"got {folds} with seeds={info.data['seeds']}; must be one of the two, or use -m seed=0,1 folds={folds}"
        )
    return folds


def _check_group(group: str | None, info: ValidationInfo) -> str | None:
    if group is not None and info.data.get("folds", 0) is None:
        raise ValueError(f"got {group!r} without folds; must be null, or folds=<number>")
    return group


def check_folds(data: AnyDataSettings, folds: int | None, group: str | None) -> None:
    """Raise ValueError if the folds do not fit the settings of the data."""
    fold = data.split.fold
    if folds is not None and fold is not None:
        raise ValueError(f"split.fold: got {fold.number} of {fold.of} with folds={folds}; must be one of the two")
    if (group or (fold and fold.group)) and data.name not in ("folder", "arrays"):
        raise ValueError(
            f"got {data.name} with groups of images, which it does not know; must be folder or arrays, or "
            "folds_group=null"
        )


Folds = Annotated[Annotated[int, Field(ge=2, le=1000)] | None, AfterValidator(_check_alone)]
FoldsGroup = Annotated[Annotated[str, Field(min_length=1)] | None, AfterValidator(_check_group)]
