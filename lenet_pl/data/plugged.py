"""Datasets of plug-ins."""

from typing import Any

from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.from_torch import dataset_from_torch
from lenet_pl.errors import DataError
from lenet_pl.plugins.build import build, entry_of
from lenet_pl.plugins.parameters import signature_of
from lenet_pl.settings import DataSettings


def load_plugged(settings: DataSettings) -> DatasetSplits:
    """Load the dataset of a plug-in.

    Its object is called twice if it takes `train` (bool) or `split` ("train", "test"), as torchvision's datasets do, or
    else once, and returns the splits (train, test) or (train, validation, test). Each split is a torch
    Dataset or a pair of images and labels, see `dataset_from_torch`. Class names are those of `classes`, if the first
    split has it.

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
    sets = [dataset_from_torch(part, settings.name) for part in parts]
    train, test, validation = sets[0], sets[-1], sets[1] if len(sets) == 3 else None
    shapes = {tuple(one.array.shape[1:]) for one in sets}
    if len(shapes) > 1:
        raise DataError(
            f"data={settings.name}: got images of shapes {', '.join(map(str, sorted(shapes)))}; must be the same "
            "in all parts"
        )
    names = getattr(parts[0], "classes", None)
    count = 1 + max(int(one.labels.max()) for one in sets)
    classes = tuple(str(name) for name in names) if names else tuple(str(k) for k in range(count))
    if count > len(classes):
        raise DataError(f"data={settings.name}: got labels 0 to {count - 1} for {len(classes)} classes; must be fewer")
    return DatasetSplits(settings.name, train, test, classes, validation=validation)
