"""Static quantization to 8 bits with onnxruntime: uint8 activations, int8 weights per output channel, int32 biases.

Source: Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", sections 2.1 to 2.4, for the scheme. Weights are symmetric and per channel as in Krishnamoorthi 2018,
"Quantizing deep convolutional networks for efficient inference: a whitepaper", section 3.1.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lenet_pl.errors import DataError
from lenet_pl.export.formats import DeployableModel, ExportablePreprocess, to_metadata, write_onnx
from lenet_pl.models.layers import RBFOutput
from lenet_pl.runtime.atomic_files import atomic_file
from lenet_pl.settings.export import Int8Settings

# Products of levels (8 bits), row weights and column weights stay below 2**24, so that float32 holds them exactly
WEIGHT_BITS = 12
ROW_BITS = 4  # bits of the rows between the two steps, after the point
BLOCK = 64  # images per forward pass of the calibration
QUANTIZED = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]


class IntegerPreprocess(ExportablePreprocess):
    """`ExportablePreprocess` that resizes in exact integer arithmetic, to whole gray levels.

    The sums are the same in any order and on any machine, so that a program without floats has the same input.
    Levels differ from those of `Preprocess` by little more than the rounding.
    """

    def __init__(self, side: int, **preprocess: Any) -> None:
        super().__init__(side, **preprocess)
        if self.matrix is not None:
            self.matrix = torch.from_numpy(integer_weights(self.matrix.numpy())).float()

    def resize(self, images: Tensor) -> Tensor:
        """Scale uint8 (B, C, side, side) to float (B, C, H, W), multiples of 1/255 in [0, 1]."""
        if self.matrix is None:
            return super().resize(images)
        rows = torch.round(self.matrix @ images.float() * 2.0 ** (ROW_BITS - WEIGHT_BITS))
        return torch.round(rows @ self.matrix.T * 2.0 ** (-ROW_BITS - WEIGHT_BITS)) * (1 / 255)


def integer_weights(matrix: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Round the rows of an interpolation matrix to multiples of 2**-12 that add up to 1; integers of the same shape."""
    weights: np.ndarray[Any, Any] = np.rint(matrix * 2**WEIGHT_BITS).astype(np.int64)
    rows = np.arange(len(weights))
    weights[rows, weights.argmax(1)] += 2**WEIGHT_BITS - weights.sum(1)
    return weights


def write_int8(
    classifier: DeployableModel,
    images: Tensor,
    path: Path,
    opset: int,
    description: dict[str, Any],
    settings: Int8Settings,
) -> None:
    """Quantize a network with calibration images, and write it as ONNX in the QDQ format.

    The input is the same as that of the float file. The logits stay float: they are the sums of the last layer times
    their scales.

    Args:
        classifier: The network with its preprocessing, in evaluation mode. It is modified.
        images: The calibration images, uint8 (N, C, side, side).
        path: The path of the file.
        opset: The version of the ONNX operator set.
        description: The metadata of the file.
        settings: How to choose the ranges.

    Raises:
        DataError: There are no calibration images.
    """
    from onnxruntime import quantization as ort  # type: ignore[import-untyped]
    from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

    if not len(images):
        raise DataError("formats: int8 needs training images to calibrate the ranges, but none is left; leave it out")
    classifier.preprocess = IntegerPreprocess(**classifier.preprocess.arguments)
    classifier.model = replace_output(classifier.model)
    with TemporaryDirectory() as folder, quiet():
        plain, prepared, quantized = (Path(folder) / name for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        write_onnx(classifier, images[:2], plain, opset, description)
        simple = onnx.load(plain)
        simplify(simple.graph)
        onnx.save(simple, plain)
        quant_pre_process(plain, prepared, skip_symbolic_shape=True)  # folds batch norm, and infers shapes
        ort.quantize_static(
            prepared,
            quantized,
            _reader(images),
            quant_format=ort.QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED,
            nodes_to_exclude=preprocessing_nodes(onnx.load(prepared).graph),
            per_channel=True,
            reduce_range=settings.reduce_range,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            calibrate_method=ort.CalibrationMethod[
                {"minmax": "MinMax", "percentile": "Percentile"}[settings.calibration]
            ],
            extra_options={"CalibPercentile": settings.percentile},
        )
        result = onnx.load(quantized)
    keep_float_logits(result.graph)
    onnx.helper.set_model_props(result, to_metadata(description))
    onnx.checker.check_model(result, full_check=True)
    with atomic_file(path) as stream:
        onnx.save(result, stream)


def choose_calibration_images(images: Any, count: int) -> Tensor:
    """Choose images at equal distances in the order of the dataset, whatever the seed; uint8 (≤ count, C, H, W).

    Args:
        images: An `ImageDataset`.
        count: The largest number of images.
    """
    used = min(count, len(images))
    rows = torch.arange(used) * len(images) // max(1, used)
    chosen: Tensor = images[rows].images
    return chosen


def replace_output(model: nn.Module) -> nn.Module:
    """Replace the distances of LeNet-5 as published by a linear layer with the same differences between classes.

    -|x-c|² is 2c·x - |c|² - |x|², and the last term is the same for all classes.
    """
    for parent in model.modules():
        for name, layer in parent.named_children():
            if isinstance(layer, RBFOutput):
                linear = nn.Linear(layer.codes.shape[1], len(layer.codes))
                linear.weight.data, linear.bias.data = 2 * layer.codes, -layer.codes.square().sum(1)
                setattr(parent, name, linear)
    return model.eval()


def simplify(graph: Any) -> None:
    """Rewrite what quantizes badly: average pooling becomes a convolution, ReLU goes before max pooling.

    The average is then an integer sum, with a range of its own. ReLU becomes part of the layer before it, whose range
    begins at 0 instead of being wasted on negative values.
    """
    shapes = {info.name: info.type.tensor_type.shape.dim for info in graph.value_info}
    for node in list(graph.node):
        attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
        users = [other for other in graph.node if node.output[0] in other.input]
        if node.op_type == "AveragePool" and not any(attributes.get("pads", ())) and not attributes.get("ceil_mode"):
            channels, window = shapes[node.input[0]][1].dim_value, attributes["kernel_shape"]
            weights = np.full((channels, 1, *window), 1 / np.prod(window), np.float32)
            graph.initializer.append(numpy_helper.from_array(weights, f"{node.name}.weight"))
            conv = onnx.helper.make_node("Conv", [node.input[0], f"{node.name}.weight"], node.output, node.name,
                kernel_shape=window, strides=attributes.get("strides", window), group=channels)  # fmt: skip
            node.CopyFrom(conv)
        elif node.op_type == "MaxPool" and [user.op_type for user in users] == ["Relu"]:
            relu = users[0]
            relu.op_type, node.op_type = "MaxPool", "Relu"
            relu.attribute.extend(node.attribute)
            del node.attribute[:], node.output[1:]
    del graph.value_info[:]  # the shapes between the two have changed


def preprocessing_nodes(graph: Any) -> list[str]:
    """List the names of the nodes up to the normalization, which stay float."""
    names = [node.name for node in graph.node]
    last = next(k for k, node in enumerate(graph.node) if "preprocess.factor" in node.input)
    return names[: last + 1]


def keep_float_logits(graph: Any) -> None:
    """Remove the quantization of the logits: 256 levels would give two classes the same logit now and then."""
    produced = {node.output[0]: node for node in graph.node}
    dequantize = produced["logits"]
    quantize = produced.get(dequantize.input[0])
    if dequantize.op_type != "DequantizeLinear" or quantize is None:
        return
    produced[quantize.input[0]].output[0] = "logits"
    for node in (dequantize, quantize):
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _reader(images: Tensor) -> Any:
    from onnxruntime.quantization import CalibrationDataReader  # type: ignore[import-untyped]

    class Reader(CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            self.blocks: Iterator[Tensor] = iter(torch.split(images, BLOCK))

        def get_next(self) -> dict[str, Any] | None:
            block = next(self.blocks, None)
            return None if block is None else {"images": block.numpy()}

    return Reader()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the hints that onnxruntime's quantization writes to the root logger."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
