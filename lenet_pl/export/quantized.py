"""Export as 8-bit ONNX and as C, with what a user has to know: accuracy, RAM and flash."""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.loaded_data import LoadedData
from lenet_pl.errors import SettingError
from lenet_pl.export.c_file import CFile
from lenet_pl.export.c_text import identifier
from lenet_pl.export.compile_c import describe_compiler, find_compiler, load_c, measure_object
from lenet_pl.export.formats import FILES, DeployableModel, Predict, read_onnx
from lenet_pl.export.int8 import choose_calibration_images, write_int8
from lenet_pl.export.verify import predict_blocks
from lenet_pl.inference.trained_run import TrainedRun
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.settings.export import ExportSettings

QUANTIZED = ("int8", "c")
NORMS = (nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)


@dataclass
class Quantized:
    """The quantized network.

    Attributes:
        int8: The 8-bit ONNX file, even if only the C file was asked for.
        predicts: The networks by format. The C file is not there without a compiler.
        facts: What export.json says about each file, by format.
    """

    int8: Predict
    predicts: dict[str, Predict] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)


def refuse_layers(model: nn.Module, formats: Sequence[str]) -> None:
    """Raise SettingError if a layer of the network has no place in a C file."""
    if "c" not in formats:
        return
    if found := next(((name, layer) for name, layer in model.named_modules() if isinstance(layer, NORMS)), None):
        name, layer = found
        raise SettingError(
            f"formats: c does not support {type(layer).__name__} ({name}), whose mean depends on the image; use a "
            "network with norm=batch_norm or norm=none, or leave c out"
        )


def write_quantized(
    run: TrainedRun,
    classifier: DeployableModel,
    description: dict[str, Any],
    folder: Path,
    settings: ExportSettings,
    data: LoadedData,
) -> Quantized:
    """Quantize a network, and write the formats `int8` and `c` as asked for.

    Args:
        run: The trained network.
        classifier: A copy of it with its preprocessing, which is modified.
        description: The metadata of the files.
        folder: The output folder.
        settings: The settings of the command.
        data: The data of the run: training images for the calibration, validation images for the accuracy.

    Raises:
        SettingError: The network has a layer that a C file cannot contain.
        DataError: There are no calibration images, or the compiler refuses the C file.
    """
    images = choose_calibration_images(data.train_set, settings.int8.num_images)
    with tempfile.TemporaryDirectory() as temporary:
        path = (folder if "int8" in settings.formats else Path(temporary)) / FILES["int8"]
        write_int8(classifier, images, path, settings.opset, description, settings.int8)
        found = Quantized(read_onnx(path))
        facts = {
            "calibration_images": len(images),
            "validation_images": len(data.validation_set),
            "validation_accuracy": accuracy(found.int8, data.validation_set),
            "checkpoint_validation_accuracy": accuracy(run.predict_logits, data.validation_set),
        }
        if "int8" in settings.formats:
            found.predicts["int8"], found.facts["int8"] = found.int8, facts
        if "c" in settings.formats:
            _write_c(run, onnx.load(path), description, folder, settings, found)
            found.facts["c"] |= facts  # of the network in it, whose logits are those of the 8-bit ONNX file
    return found


def accuracy(predict: Predict, images: ImageDataset) -> float | None:
    """Compute the accuracy on all images of a split; None if it is empty."""
    if not len(images):
        return None
    batch = images[slice(0, len(images))]
    return int((predict_blocks(predict, batch.images).argmax(1) == batch.labels).sum()) / len(images)


def _write_c(
    run: TrainedRun, model: Any, description: dict[str, Any], folder: Path, settings: ExportSettings, found: Quantized
) -> None:
    name = settings.c.name or identifier(f"{run.settings.model.name}_{run.settings.data.name}")
    file = CFile(model, description, name, f"{run.name}: int8 network, written by lenet_pl")
    path, compiler, measured = folder / FILES["c"], find_compiler(), None
    write_text(path, file.text())
    if compiler:
        with tempfile.TemporaryDirectory() as temporary:
            if sections := measure_object(path, Path(temporary), compiler):
                measured = f"{sections} with {describe_compiler(compiler)} -Os"
                write_text(path, file.text(measured))
            with contextlib.suppress(OSError):  # of a compiler for another machine: the file cannot be checked here
                found.predicts["c"] = load_c(path, name, len(run.classes), Path(temporary), compiler)
    found.facts["c"] = {
        "name": name,
        "ram_bytes": file.ram,
        "constant_bytes": file.constants,
        "object_file": measured,
    }
