"""The network as one HTML file: weights, forward pass and drawing board, for any browser and without a server."""

import base64
import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lenet_pl
from lenet_pl.display.text import as_html, as_json
from lenet_pl.errors import printable
from lenet_pl.export.formats import ExportablePreprocess, Predict
from lenet_pl.export.page_layers import PageLayer, read_layers
from lenet_pl.export.page_texts import FOLDER, read_texts
from lenet_pl.export.run_page import find_node, read_page
from lenet_pl.photo.handwriting import HANDWRITING
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.settings import FolderDataSettings
from lenet_pl.settings.export import PageSettings

# In an order in which each file uses only what is above it, or at the time of a call
SCRIPTS = (
    "network.js",  # weights, preprocessing, forward pass
    "layers.js",
    "resample.js",  # from here: preparation of drawings and pictures
    "strokes.js",
    "ink.js",
    "unit.js",  # how a value was computed
    "texts.js",  # from here: what the reader sees
    "board.js",
    "maps.js",
    "unit_view.js",
    "page.js",
)


class Weights:
    """All weights one after the other, as float32."""

    def __init__(self) -> None:
        self.found: list[Tensor] = []
        self.count = 0

    def add(self, tensor: Tensor | None) -> dict[str, Any] | None:
        """Append a tensor, and return its place; None for a missing one."""
        if tensor is None:
            return None
        place = {"at": self.count, "shape": list(tensor.shape)}
        self.found.append(tensor.detach().flatten().float().cpu())
        self.count += tensor.numel()
        return place

    def encode(self) -> str:
        """Return all numbers in base64, little-endian."""
        return base64.b64encode(torch.cat(self.found).numpy().astype("<f4").tobytes()).decode()


def check_page(run: Any, settings: PageSettings) -> None:
    """Raise SettingError if the page of a `TrainedRun` cannot be written: for a layer, or the texts."""
    read_layers(run.model, run.channels, run.settings.model.image_size)
    read_texts(settings.texts)


def write_page(run: Any, description: dict[str, Any], path: Path, settings: PageSettings) -> Predict | None:
    """Write the page of a `TrainedRun`.

    Args:
        run: The trained network.
        description: The metadata of `export.describe`.
        path: The path of the file.
        settings: The settings of the page.

    Returns:
        A function that computes logits with the script of the file; None without Node.js.

    Raises:
        SettingError: The network has a layer that the page cannot contain.
    """
    inputs = {key: description[key] for key in ("side", "mean", "std", "background")}
    size, fit = description["model"]["image_size"], description["resize_mode"]
    matrix = ExportablePreprocess(image_size=size, fit=fit, **inputs).matrix
    write_text(path, page_text(run, description, matrix, read_texts(settings.texts)))
    node = find_node()
    return read_page(path, node) if node else None


def page_text(run: Any, description: dict[str, Any], matrix: Tensor | None, texts: dict[str, str]) -> str:
    """Build the page of a `TrainedRun`.

    Args:
        run: The trained network.
        description: The metadata of `export.describe`.
        matrix: The interpolation matrix of `ExportablePreprocess`, float (image_size, side); None without resizing.
        texts: The texts of the page, see `page/texts.json`.

    Raises:
        SettingError: The network has a layer that the page cannot contain.
    """
    image_size = description["model"]["image_size"]
    network = describe_network(read_layers(run.model, run.channels, image_size), run, description, matrix)
    script = "\n".join(['"use strict";', *((FOLDER / name).read_text("utf-8") for name in SCRIPTS)])
    style = (FOLDER / "page.css").read_text("utf-8")
    parts = {
        **{key: as_html(text) for key, text in texts.items()},
        "name": as_html(printable(run.name)),
        "version": as_html(lenet_pl.__version__),
        "policy": content_policy(script, style),
        "style": style,
        "script": script,
        "texts": embed(texts),
        "network": embed(network),
    }
    page = (FOLDER / "page.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page)


def describe_network(
    layers: dict[str, PageLayer], run: Any, description: dict[str, Any], matrix: Tensor | None
) -> dict[str, Any]:
    """Describe the network and its input as plain JSON values, with the weights as one base64 string."""
    weights = Weights()
    short = {name: name.partition(".")[2] or name for name in layers}  # without the part of the network
    counts = Counter(short.values())
    rows = [
        {
            "name": short[name] if counts[short[name]] == 1 else name,
            "kind": layer.kind,
            **layer.numbers,
            "weight": weights.add(layer.tensors.get("weight")),
            "bias": weights.add(layer.tensors.get("bias")),
        }
        for name, layer in layers.items()
    ]
    inputs = {key: description[key] for key in ("channels", "side", "mean", "std")}
    return {
        "model": run.settings.model.name,
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "classes": [printable(name) for name in run.classes],
        **inputs,
        "image_size": description["model"]["image_size"],
        "background": description["background"] / 255,
        "drawing": drawing_form(run),
        "layers": rows,
        "resize": weights.add(matrix),
        "weights": weights.encode(),
    }


def drawing_form(run: Any) -> dict[str, Any]:
    """Describe how a drawing becomes an image of the run's dataset; the choices of `photo.prepare.see`."""
    data = run.settings.data
    if layout := HANDWRITING.get(data.name):
        return {"kind": "ink", "box": layout.box, "by_mass": layout.by_mass}
    if data.name == "fashion":
        return {"kind": "garment"}
    if not isinstance(data, FolderDataSettings):
        return {"kind": "whole", "fit": "crop"}
    fit = "pad" if data.resize_mode == "pad" else "resize"
    return {"kind": "whole", "fit": fit, "background": data.background}


def content_policy(script: str, style: str) -> str:
    """Return a Content-Security-Policy under which nothing but these two texts runs, and nothing is requested."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    return (
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def embed(values: Any) -> str:
    """Encode values as JSON that ends no script element, whatever the names in it are."""
    return as_json(values, indent=None).rstrip().replace("<", "\\u003c").replace(">", "\\u003e")
