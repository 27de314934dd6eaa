"""Datasets of plug-ins."""

from typing import Any

from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.in_memory import splits_from_objects
from lenet_pl.errors import DataError
from lenet_pl.plugins.build import build, entry_of
from lenet_pl.plugins.parameters import signature_of
from lenet_pl.settings import DataSettings


def load_plugged(settings: DataSettings) -> DatasetSplits:
    """Load the dataset of a plug-in.

    Its object is called twice if it takes `train` (bool) or `split` ("train", "test"), as torchvision's datasets do, or
    else once, and returns the splits (train, test) or (train, validation, test), as `splits_from_objects` takes them.

    Raises:
        DataError: A split is unsuitable, or the splits do not fit each other.
    """
    parameters = signature_of(entry_of("data", settings).load())
    if "train" in parameters:
        parts: Any = [build("data", settings, train=train) for train in (True, False)]
    elif "split" in parameters:
        parts = [build("data", settings, split=split) for split in ("train", "test")]
    else:
        parts = build("data", settings)
    if not isinstance(parts, tuple | list) or len(parts) not in (2, 3):
        raise DataError(
            f"data={settings.name}: got {type(parts).__name__}; must return (train, test) or (train, validation, "
            "test), or take `train`, as torchvision's datasets do"
        )
    return splits_from_objects(parts, name=settings.name)
