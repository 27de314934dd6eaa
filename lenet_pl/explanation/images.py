"""The images that are explained: from the run's test part, or the user's own."""

from typing import Any

import torch
from torch import Tensor

from lenet_pl.errors import SettingError, printable
from lenet_pl.explanation.methods import telling_images
from lenet_pl.photo.find import find_images
from lenet_pl.photo.prepare import prepare, read_photo
from lenet_pl.settings.explain import MOST, ExplainSettings
from lenet_pl.trained import TrainedRun


def test_images(settings: ExplainSettings, run: TrainedRun) -> tuple[Tensor, list[dict[str, Any]]]:
    """Take the test images that are named, or choose some: uint8 (N, C, h, w), and place and class of each.

    Raises:
        SettingError: there is no such test image.
        DataError: the run's data are absent.
    """
    test = run.data(accept_changes=settings.data.accept_changes).test_set
    places = settings.indices
    if places is None:
        places = telling_images(run.logits(test.images), test.labels, settings.count)
    if wrong := [index for index in places if index >= len(test)]:
        raise SettingError(f"indices: got {wrong[0]}; accepted is 0 to {len(test) - 1}, places in the test part")
    some = test[torch.tensor(places)]
    labels = some.labels.tolist()
    return some.images, [{"index": i, "true": run.classes[k]} for i, k in zip(places, labels, strict=True)]


def own_images(settings: ExplainSettings, run: TrainedRun) -> tuple[Tensor, list[dict[str, Any]]]:
    """Read the user's images: uint8 (N, C, h, w), and the file of each.

    Raises:
        SettingError: there are more than a picture has room for.
        DataError: there are no such files, or one cannot be used.
    """
    files = find_images([settings.images] if isinstance(settings.images, str) else settings.images or [])
    if len(files) > MOST:
        raise SettingError(f"images: got {len(files)} files; accepted are at most {MOST}")
    images = [prepare(read_photo(file, printable(file)), run, settings.photo) for file in files]
    return torch.stack(images), [{"file": printable(file)} for file in files]
