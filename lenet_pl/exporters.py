"""Formats for a trained network.

torch.export and ONNX files take uint8 images as they are and return logits. A safetensors file holds the weights and
all that is needed to build the same network around them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.errors import DataError, SettingError
from lenet_pl.text import as_json

Predict = Callable[[Tensor], Tensor]  # uint8 (N, C, side, side) → float (N, K)
FILES = {"torch_export": "model.pt2", "onnx": "model.onnx", "safetensors": "model.safetensors"}


class Classifier(nn.Module):
    """Preprocessing and network in one, of operations that every format has.

    Does what `ModelInput` does. Resizing is a product with two constant matrices, which is the same for images of one
    size, because antialiased interpolation is left out, or is computed otherwise, elsewhere.

    Args:
        model: normalised float (N, C, image_size, image_size) → logits (N, K); put into evaluation mode.
        side: px, height and width of the images that are given.
        image_size: px, height and width that the model wants.
        fit: "pad" or "resize".
        mean: per channel, of pixels scaled to [0, 1].
        std: likewise.
        background: grey level 0 to 255 that padding adds.
    """

    shift: Tensor
    factor: Tensor
    resize: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        *,
        side: int,
        image_size: int,
        fit: str,
        mean: list[float],
        std: list[float],
        background: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.background = background / 255
        self.missing = max(0, image_size - side) if fit == "pad" else 0  # px that padding adds
        self.register_buffer("shift", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("factor", 1 / torch.tensor(std).view(1, -1, 1, 1))
        resizes = side + self.missing != image_size
        self.register_buffer("resize", interpolation_matrix(side, image_size) if resizes else None)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, C, side, side) to logits, float (N, K)."""
        pixels = images.float() * (1 / 255)
        if self.missing:
            before, after = self.missing // 2, self.missing - self.missing // 2
            pixels = functional.pad(pixels, (before, after, before, after), value=self.background)
        if self.resize is not None:
            pixels = self.resize @ pixels @ self.resize.T
        return self.model((pixels - self.shift) * self.factor)  # type: ignore[no-any-return]


def interpolation_matrix(side: int, wanted: int) -> Tensor:
    """Find the weights that antialiased bilinear interpolation gives each pixel of a line; float (wanted, side)."""
    lines = torch.eye(side)[None, None]
    size = (wanted, side)
    return functional.interpolate(lines, size, mode="bilinear", align_corners=False, antialias=True)[0, 0]


def write_torch_export(classifier: Classifier, example: Tensor, path: Path) -> None:
    """Write what `torch.export.load(path).module()` reads, without lenet_pl.

    Args:
        classifier: in evaluation mode.
        example: uint8 (2, C, side, side); the number of images stays free.
        path: of the file.
    """
    program = torch.export.export(classifier, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths of this machine
    torch.export.save(program, path)


def read_torch_export(path: Path) -> Predict:
    """Load a file of `write_torch_export`."""
    module = torch.export.load(path).module()
    return torch.inference_mode()(module)


def write_onnx(classifier: Classifier, example: Tensor, path: Path, opset: int, description: dict[str, Any]) -> None:
    """Write one ONNX file, with input `images` and output `logits`; the description becomes its metadata.

    Raises:
        SettingError: the exporter cannot write this version of the operators.
    """
    import onnx

    program = torch.onnx.export(
        classifier,
        (example,),
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    written = next(entry.version for entry in model.opset_import if not entry.domain)
    if written != opset:
        raise SettingError(f"opset: {opset} cannot be written by this exporter; accepted is {written}")
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's notes, with paths of this machine
        node.ClearField("doc_string")
    onnx.helper.set_model_props(model, as_text(description))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def read_onnx(path: Path) -> Predict:
    """Load an ONNX file into onnxruntime, on the CPU."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def write_safetensors(model: nn.Module, path: Path, description: dict[str, Any]) -> None:
    """Write the weights of the model; the description becomes the file's metadata."""
    from safetensors.torch import save

    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    path.write_bytes(save(weights, as_text(description)))  # its own save_file makes files that others cannot read


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights and description; nothing in the file can name code.

    Raises:
        DataError: the file is absent, damaged, or not of lenet_pl.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dictionary
            return weights, {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (OSError, SafetensorError, ValueError) as error:
        raise DataError(f"{path}: not a safetensors file of lenet_pl ({error})") from None


def as_text(description: dict[str, Any]) -> dict[str, str]:
    """Write each value as JSON, because both formats hold text only."""
    return {key: as_json(value, indent=None).rstrip() for key, value in description.items()}
