"""The answer to one image as plain values: probabilities, preprocessed image, feature maps and Grad-CAM."""

from typing import Any

import numpy as np
from torch import Tensor

from lenet_pl.attribution.methods import feature_maps, grad_cam
from lenet_pl.errors import SettingError, printable
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.photo.prepare import see, unsure
from lenet_pl.photo.read_photo import read_photo
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.web.pictures import png_url, tiles


def classify_image(run: TrainedRun, content: bytes, settings: PhotoSettings) -> dict[str, Any]:
    """Classify an image, and visualize the activations of the network.

    Args:
        run: The trained network.
        content: The content of an image file.
        settings: The preprocessing that makes the image look like the training images.

    Returns:
        A dictionary of plain values, with all images as data URLs of PNG files:

        - `classes`: names and probabilities, the most probable first
        - `notes`: reasons to doubt the prediction
        - `seen`: the preprocessed image
        - `input`: the preprocessed image in the size of the network's input
        - `grad_cam`: the Grad-CAM heatmap; None if captum is not installed
        - `layers`: the feature maps of each convolutional layer

    Raises:
        DataError: The content is not a usable image.
    """
    [(seen, notes, _)] = see(read_photo(content, "image"), run, settings)
    images = seen[None]
    probabilities = run.predict_logits(images)[0].softmax(0)
    order = probabilities.argsort(descending=True)
    try:
        heat = _heat(grad_cam(run, images)[0])
    except SettingError:
        heat = None
    return {
        "classes": [
            {"name": printable(run.classes[k]), "probability": float(probabilities[k])} for k in order.tolist()
        ],
        "notes": [note.partition(";")[0] for note in notes] + unsure(float(probabilities.max())),
        "seen": png_url(seen.permute(1, 2, 0).squeeze(-1).numpy()),
        "input": png_url(_input(run, images)),
        "grad_cam": heat,
        "layers": [
            {"name": name, "maps": maps.shape[1], "side": maps.shape[2], "picture": png_url(tiles(maps[0]))}
            for name, maps in feature_maps(run, images).items()
        ],
    }


def _input(run: TrainedRun, images: Tensor) -> Any:
    """Resize images (1, C, H, W) to the network's input; returns uint8 pixels before normalization."""
    return (run.preprocess.resize(images)[0].permute(1, 2, 0).squeeze(-1).clamp(0, 1) * 255).round().byte().numpy()


def _heat(heat: Tensor) -> str:
    """Render a heatmap (H, W) in [0, 1] as one color with an opacity proportional to the values."""
    alpha = (heat.detach().numpy() * 200).round().astype(np.uint8)
    color = np.broadcast_to(np.array([255, 96, 0], np.uint8), (*alpha.shape, 3))
    return png_url(np.concatenate([color, alpha[..., None]], 2))
