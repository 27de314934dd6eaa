"""The network and the augmentation of settings that are not trained yet."""

import threading
from typing import Any

import torch

from lenet_pl.artifacts.augmentation_plot import as_pixels, augments, random_batches
from lenet_pl.artifacts.layer_table import summarize
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.loaded_data import LoadedData
from lenet_pl.engine.build import build_datamodule, check_batch_norm_batch_size, check_limits
from lenet_pl.errors import printable
from lenet_pl.models.build import build_model
from lenet_pl.settings import TrainSettings
from lenet_pl.web.pictures import png_url, tiles

KEPT = 3  # datasets in memory
IMAGES, DRAWS = 4, 7  # of the augmentation
_kept: dict[tuple[str, int], LoadedData] = {}
_loading = threading.Lock()


def describe_network(settings: TrainSettings) -> dict[str, Any]:
    """Build the network, without training it.

    Returns:
        - `input`: channels, height and width of an image
        - `layers`: `name`, `type`, output `shape` and number of `parameters` of each layer
        - `parameters`, `images` (of training and validation) and `classes`

    Raises:
        UserError: The network does not fit the images, or the data cannot be read.
    """
    data = load(settings)
    model = build_model(settings.model, data.channels, data.num_classes)
    check_limits(settings, data)
    check_batch_norm_batch_size(model, settings.loader, len(data.train_set))
    rows = [
        {"name": name, "type": kind, "shape": [int(side) for side in shape.split("×")], "parameters": count}
        for name, kind, shape, count in summarize(model, data.example_input())
    ]
    return {
        "input": [data.channels, settings.model.image_size, settings.model.image_size],
        "layers": rows,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "images": [len(data.train_set), len(data.validation_set)],
        "classes": [printable(name) for name in data.classes],
    }


def draw_augmentation(settings: TrainSettings) -> dict[str, Any]:
    """Draw training images, one a row: the image as it is, then random transforms of it.

    Returns:
        `picture` (a data URL), `columns`, and whether anything is `changed`.
    """
    data = load(settings)
    images = data.train_set[torch.arange(min(IMAGES, len(data.train_set)))]
    columns = [data.preprocess.resize(images.images), *(b.images for b in random_batches(data, images, DRAWS))]
    pixels = as_pixels(columns).float()
    sheet = tiles(pixels if data.channels == 3 else pixels[:, 0], columns=1 + DRAWS)
    return {"picture": png_url(sheet), "columns": 1 + DRAWS, "changed": augments(data)}


def load(settings: TrainSettings) -> ImageDataModule:
    """Build the data module of settings; its images are kept for the next settings."""
    key = settings.data.model_dump_json(), settings.model.image_size
    with _loading:
        if key not in _kept:
            loaded = build_datamodule(settings).loaded
            while len(_kept) >= KEPT:
                del _kept[next(iter(_kept))]
            _kept[key] = loaded
        return build_datamodule(settings, loaded=_kept[key])
