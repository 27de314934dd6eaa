"""Export formats for a trained network.

torch.export and ONNX files contain the preprocessing: they map uint8 images to logits. A safetensors file contains the
weights, and the metadata to rebuild the network around them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.data.transform import Preprocess
from lenet_pl.display.text import as_json
from lenet_pl.errors import SettingError
from lenet_pl.runtime.atomic_files import atomic_file

Predict = Callable[[Tensor], Tensor]  # uint8 (N, C, side, side) → float (N, K)
FILES = {
    "torch_export": "model.pt2",
    "onnx": "model.onnx",
    "safetensors": "model.safetensors",
    "int8": "model_int8.onnx",
    "c": "model.c",
    "page": "model.html",
}


class ExportablePreprocess(Preprocess):
    """`Preprocess` for images of a fixed size, in operations that every format supports.

    Resizing is a product with two constant matrices, because antialiased interpolation is missing, or computed
    differently, in other runtimes.

    Args:
        side: Height and width of the input images, px.
        **preprocess: Arguments of `Preprocess`.

    Attributes:
        matrix: The interpolation matrix, float (image_size, side); None if the images are not resized.
        arguments: The arguments of this class.
    """

    matrix: Tensor | None

    def __init__(self, side: int, **preprocess: Any) -> None:
        super().__init__(**preprocess)
        self.side, self.arguments = side, {"side": side, **preprocess}
        padded = max(side, self.image_size) if self.fit == "pad" else side
        resizes = padded != self.image_size
        matrix = interpolation_matrix(side, self.image_size) if resizes else None
        self.register_buffer("matrix", matrix, persistent=False)

    def resize(self, images: Tensor) -> Tensor:
        """Scale uint8 (B, C, side, side) to float (B, C, H, W) in [0, 1]."""
        pixels = images.float() * (1 / 255)
        if self.matrix is not None:
            return self.matrix @ pixels @ self.matrix.T
        return pixels if self.side == self.image_size else self.pad(pixels, self.side, self.side)

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalize float (B, C, H, W) in [0, 1], without the memory format, which exporters do not support."""
        return (pixels - self.shift) * self.factor


class DeployableModel(nn.Module):
    """A network with its preprocessing, in evaluation mode.

    Args:
        model: The network, normalized float (N, C, image_size, image_size) → logits (N, K).
        **preprocess: Arguments of `ExportablePreprocess`.
    """

    def __init__(self, model: nn.Module, **preprocess: Any) -> None:
        super().__init__()
        self.model, self.preprocess = model, ExportablePreprocess(**preprocess)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Map uint8 (N, C, side, side) to logits, float (N, K)."""
        return self.model(self.preprocess(images))  # type: ignore[no-any-return]


def interpolation_matrix(side: int, wanted: int) -> Tensor:
    """Compute the matrix of antialiased bilinear interpolation from `side` to `wanted` pixels, float (wanted, side)."""
    lines = torch.eye(side)[None, None]
    size = (wanted, side)
    return functional.interpolate(lines, size, mode="bilinear", align_corners=False, antialias=True)[0, 0]


def write_torch_export(classifier: DeployableModel, example: Tensor, path: Path) -> None:
    """Write a file for `torch.export.load(path).module()`, which does not need lenet_pl.

    Args:
        classifier: The network with its preprocessing, in evaluation mode.
        example: Two input images, uint8 (2, C, side, side). The exported batch size is dynamic.
        path: The path of the file.
    """
    program = torch.export.export(classifier, (example,), dynamic_shapes={"images": {0: torch.export.Dim("batch")}})
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # would contain local paths
    with atomic_file(path) as stream:
        torch.export.save(program, stream)


def read_torch_export(path: Path) -> Predict:
    """Load a file of `write_torch_export` for prediction."""
    module = torch.export.load(path).module()
    return torch.inference_mode()(module)


def write_onnx(
    classifier: DeployableModel, example: Tensor, path: Path, opset: int, description: dict[str, Any]
) -> None:
    """Write an ONNX file with the input `images` and the output `logits`.

    Args:
        classifier: The network with its preprocessing, in evaluation mode.
        example: Two input images, uint8 (2, C, side, side). The exported batch size is dynamic.
        path: The path of the file.
        opset: The version of the ONNX operator set.
        description: The metadata of the file.

    Raises:
        SettingError: The exporter does not support this version of the operator set.
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
        raise SettingError(f"opset: got {opset}, which the exporter does not support; must be {written}")
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's notes, with local paths
        node.ClearField("doc_string")
    onnx.helper.set_model_props(model, to_metadata(description))
    onnx.checker.check_model(model, full_check=True)
    with atomic_file(path) as stream:
        onnx.save(model, stream)


def read_onnx(path: Path) -> Predict:
    """Load an ONNX file into onnxruntime for prediction on the CPU, with torch's number of threads."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def write_safetensors(model: nn.Module, path: Path, description: dict[str, Any]) -> None:
    """Write the weights of a network, with the description as metadata."""
    from safetensors.torch import save

    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    with atomic_file(path) as stream:  # safetensors' own save_file creates files that only their owner can read
        stream.write(save(weights, to_metadata(description)))


def to_metadata(description: dict[str, Any]) -> dict[str, str]:
    """Encode each value as JSON, since the metadata of both formats are strings."""
    return {key: as_json(value, indent=None).rstrip() for key, value in description.items()}
