"""What the page shows of one image: probabilities, what the network saw, feature maps and Grad-CAM, as plain values."""

import base64
import io
import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lenet_pl.errors import SettingError, printable
from lenet_pl.explanation.methods import feature_maps, grad_cam
from lenet_pl.photo.prepare import read_photo, see, unsure
from lenet_pl.settings.predict import PhotoSettings
from lenet_pl.trained import TrainedRun

GAP = 1  # px between two feature maps


def answer(run: TrainedRun, content: bytes, settings: PhotoSettings) -> dict[str, Any]:
    """Classify an image and look into the network.

    Args:
        run: a trained network.
        content: of the file.
        settings: how the image comes to look like the training images.

    Returns:
        Names and probabilities of all classes, likeliest first, notes on what is doubtful, and pictures as data URLs of
        PNG files. `grad_cam` is None where captum is not installed.

    Raises:
        DataError: the content is no image that can be used.
    """
    [(seen, notes, _)] = see(read_photo(content, "image"), run, settings)
    images = seen[None]
    probabilities = run.logits(images)[0].softmax(0)
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
        "seen": _png(seen.permute(1, 2, 0).squeeze(-1).numpy()),
        "input": _png(_input(run, images)),
        "grad_cam": heat,
        "layers": [
            {"name": name, "maps": maps.shape[1], "side": maps.shape[2], "picture": _png(_tiles(maps[0]))}
            for name, maps in feature_maps(run, images).items()
        ],
    }


def _input(run: TrainedRun, images: Tensor) -> Any:
    """Show the image at the size of the network's input, before it is normalised."""
    return (run.to_input.to_size(images)[0].permute(1, 2, 0).squeeze(-1).clamp(0, 1) * 255).round().byte().numpy()


def _tiles(maps: Tensor) -> Any:
    """Lay feature maps (M, H, W) side by side, on one scale for the layer."""
    count, height, width = maps.shape
    columns = math.ceil(math.sqrt(2 * count)) if count > 8 else count
    rows = -(-count // columns)
    low, high = float(maps.min()), float(maps.max())
    levels = ((maps - low) / (high - low if high > low else 1) * 255).round().byte()
    sheet = torch.zeros(rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, dtype=torch.uint8)
    for place, level in enumerate(levels):
        row, column = divmod(place, columns)
        top, left = row * (height + GAP), column * (width + GAP)
        sheet[top : top + height, left : left + width] = level
    return sheet.numpy()


def _heat(heat: Tensor) -> str:
    """Paint a map (H, W) in [0, 1] in one colour that covers where it is strong."""
    alpha = (heat.detach().numpy() * 200).round().astype(np.uint8)
    colour = np.broadcast_to(np.array([255, 96, 0], np.uint8), (*alpha.shape, 3))
    return _png(np.concatenate([colour, alpha[..., None]], 2))


def _png(pixels: Any) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
