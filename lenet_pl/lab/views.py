"""Pictures and numbers from inside a network while it is trained."""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from lenet_pl.attribution.feature_maps import first_filters, layer_maps
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import printable
from lenet_pl.web.pictures import png_url, tiles

OFFERED = 24  # validation images to choose from
CHOSEN = 2  # of which are shown at first
MAX_CHOSEN = 4
MAX_MAPS = 64  # feature maps of a layer


class View:
    """What a network has learned so far: its filters, its feature maps of some images, and its gradients.

    Args:
        data: The data module, whose validation images are shown.
        task: The classifier, which is not changed.
    """

    def __init__(self, data: ImageDataModule, task: ImageClassifier) -> None:
        self.task, self.classes = task, data.classes
        self.preprocess = copy.deepcopy(data.preprocess).cpu()  # it may be on another device than the network
        self._last_gradients: list[dict[str, Any]] = []
        count = min(OFFERED, len(data.validation_set))
        self.images = data.validation_set[torch.arange(count)]
        self.choose(range(min(CHOSEN, count)))

    def choose(self, indices: Sequence[int]) -> None:
        """Choose the images whose feature maps are drawn, by their index; those that do not exist are left out."""
        self.chosen = [k for k in dict.fromkeys(indices) if 0 <= k < len(self.images)][:MAX_CHOSEN]
        rows = torch.tensor(self.chosen, dtype=torch.long)
        weight = next(self.task.model.parameters())
        self.inputs = self.preprocess(self.images.images[rows]).to(weight)

    def describe_data(self) -> dict[str, Any]:
        """Return class names, and thumbnails and labels of the images to choose from."""
        pixels = self.preprocess.resize(self.images.images).mul(255).round().byte()
        return {
            "classes": [printable(name) for name in self.classes],
            "thumbnails": [png_url(image.permute(1, 2, 0).squeeze(-1).numpy()) for image in pixels],
            "labels": self.images.labels.tolist(),
        }

    def draw(self) -> dict[str, Any]:
        """Draw the network as it is.

        Returns:
            - `filters`: the first convolution as a picture, 0 is gray
            - `images`: of each chosen image its `index`, the most probable class (`predicted`), its `probability`, and
              `layers`: `name`, number of `maps`, `side` and `picture`
            - `gradients`: `name` and `norm` of the gradient of each layer in the last step, after gradient clipping
        """
        model = self.task.model
        modes = {module: module.training for module in model.modules()}
        try:
            with torch.no_grad():
                model.eval()
                filters = first_filters(model).float().cpu()
                maps = layer_maps(model, self.inputs) if self.chosen else {}
                logits = model(self.inputs) if self.chosen else torch.empty(0, 1)
        finally:
            for module, training in modes.items():
                module.training = training
        best = logits.float().softmax(1).nan_to_num().max(1)
        return {
            "filters": png_url(tiles(filters if filters.shape[1] == 3 else filters.mean(1), symmetric=True)),
            "images": [
                {
                    "index": index,
                    "predicted": int(best.indices[row]),
                    "probability": float(best.values[row]),
                    "layers": [_layer(name, values[row].float().cpu()) for name, values in maps.items()],
                }
                for row, index in enumerate(self.chosen)
            ],
            "gradients": self._gradients(),
        }

    def _gradients(self) -> list[dict[str, Any]]:
        found = []  # after the last step Lightning frees the gradients
        for name, module in self.task.model.named_modules():
            norms = [p.grad.norm() for p in module.parameters(recurse=False) if p.grad is not None]
            if norms:
                found.append({"name": name, "norm": float(torch.stack(norms).norm())})
        self._last_gradients = found or self._last_gradients
        return self._last_gradients


def _layer(name: str, maps: torch.Tensor) -> dict[str, Any]:
    shown = maps[:MAX_MAPS]
    return {"name": name, "maps": maps.shape[0], "side": maps.shape[1], "picture": png_url(tiles(shown))}
