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

import onnx
import torch
from torch import Tensor, nn

from lenet_pl.errors import DataError
from lenet_pl.export.formats import DeployableModel, to_metadata, write_onnx
from lenet_pl.export.integer_resize import IntegerPreprocess
from lenet_pl.export.rewrite_onnx import keep_float_logits, preprocessing_nodes, simplify
from lenet_pl.models.layers import RBFOutput
from lenet_pl.runtime.atomic_files import atomic_file
from lenet_pl.settings.export import Int8Settings

BLOCK = 64  # images per forward pass of the calibration
QUANTIZED = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu"]


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
