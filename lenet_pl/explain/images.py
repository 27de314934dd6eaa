"""Images to explain: test images of the run, or the user's own."""

from typing import Any

import torch
from torch import Tensor

from lenet_pl.attribution.methods import select_examples
from lenet_pl.errors import SettingError, printable
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.photo.find_files import find_images
from lenet_pl.photo.prepare import prepare
from lenet_pl.photo.read_photo import read_photo
from lenet_pl.settings.explain import MOST, ExplainSettings


def test_images(settings: ExplainSettings, run: TrainedRun) -> tuple[Tensor, list[dict[str, Any]]]:
    """Load the test images of `settings.indices`, or select examples.

    Returns:
        The images, uint8 (N, C, h, w), and `index` and `true` (class name) of each.

    Raises:
        SettingError: An index is out of range.
        DataError: The data of the run are missing or have changed.
    """
    test = run.load_data(accept_changes=settings.data.accept_changes).test_set
    places = settings.indices
    if places is None:
        places = select_examples(run.predict_logits(test.images), test.labels, settings.num_images)
    if wrong := [index for index in places if index >= len(test)]:
        raise SettingError(f"indices: got {wrong[0]}; must be 0 to {len(test) - 1}, an index of a test image")
    some = test[torch.tensor(places)]
    labels = some.labels.tolist()
    return some.images, [{"index": i, "true": run.classes[k]} for i, k in zip(places, labels, strict=True)]


def own_images(settings: ExplainSettings, run: TrainedRun) -> tuple[Tensor, list[dict[str, Any]]]:
    """Read the user's images of `settings.images`.

    Returns:
        The images as prepared for the network, uint8 (N, C, side, side), and `file` of each.

    Raises:
        SettingError: There are more images than fit on a figure.
        DataError: A file does not exist, or is not a usable image.
    """
    files = find_images([settings.images] if isinstance(settings.images, str) else settings.images or [])
    if len(files) > MOST:
        raise SettingError(f"images: got {len(files)} files; must be at most {MOST}")
    images = [prepare(read_photo(file, printable(file)), run, settings.photo) for file in files]
    return torch.stack(images), [{"file": printable(file)} for file in files]
