"""Export a trained network for use without lenet_pl: `python -m lenet_pl.export run=<folder> formats=[onnx]`."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.errors import DataError, SettingError
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.settings import validate
from lenet_pl.settings.export import ExportSettings
from lenet_pl.settings.renamed import upgraded_metadata

ONNX = ("onnx", "onnxscript", "onnxruntime")
PACKAGES = {"torch_export": (), "onnx": ONNX, "safetensors": ("safetensors",), "int8": ONNX, "c": ONNX, "page": ()}


def export(settings: ExportSettings) -> dict[str, Any]:
    """Export a network, compare each file with the checkpoint on test images, time it, and print a table.

    Args:
        settings: The settings of the command.

    Returns:
        The content of export.json:

        - `task` ("export"), and the keys of `TrainedRun.describe`
        - `metadata` (see `describe`), `data` (name), `tolerance` (largest allowed difference of logits)
        - `checkpoint_images_per_second`: by batch size
        - `files`, one dictionary per format: `format`, `file` (name), `opset` (ONNX only), `bytes`, `sha256`, `check`
          (`images`, `same_class` and `largest_difference`, see `verify_logits`), `images_per_second` (by batch size).
          The C file is compared with the 8-bit ONNX network; both values are null without a C compiler.
          int8: also `calibration_images`, `validation_images`, `validation_accuracy` and
          `checkpoint_validation_accuracy`. c: `name`, `ram_bytes`, `constant_bytes`, `object_file` (sizes, or null).
          The page is not timed; its `check` has at most 100 images, and is null without Node.js
        - `device`, `threads`, `cores`, `versions`, `git_commit`, `command`

    Raises:
        SettingError: A package for a format is not installed, or a format does not support a layer.
        DataError: The run cannot be used, the predictions of a file differ from those of the checkpoint, or the 8-bit
            file loses too much accuracy. The files are kept for inspection.
    """
    require_packages(settings.formats)
    # torch and Lightning take seconds to import; errors in the settings are reported earlier
    import hashlib
    from importlib import metadata

    import torch

    from lenet_pl.display.text import as_json
    from lenet_pl.export.formats import FILES, Predict
    from lenet_pl.export.verify import find_fault, measure_throughput, predict_blocks, print_export, verify_files
    from lenet_pl.inference.output_folder import output_folder
    from lenet_pl.inference.trained_run import open_run
    from lenet_pl.runtime.environment import describe_environment

    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    run = open_run(settings)
    quantizes = {"int8", "c"} & set(settings.formats)
    if quantizes:
        from lenet_pl.export import quantized

        quantized.refuse_layers(run.model, settings.formats)
    if "page" in settings.formats:
        from lenet_pl.export import page_file

        page_file.check_page(run, settings.page)
    data = run.load_data(accept_changes=settings.data.accept_changes)
    images = data.test_set[slice(0, settings.num_images)].images
    expected = run.predict_logits(images)
    if not expected.isfinite().all():
        raise DataError(f"{run.checkpoint}: produces NaN or infinite logits; the checkpoint cannot be used")
    folder = output_folder(settings, run, "export")

    description = describe(run)
    predicts: dict[str, Predict] = {
        name: predict
        for name in settings.formats
        if name not in quantizes and (predict := write(name, run, description, folder, settings))
    }
    facts: dict[str, dict[str, Any]] = {}
    reference = dict.fromkeys(predicts, expected)
    if quantizes:
        classifier = build_classifier(copy.deepcopy(run.model), description)
        small = quantized.write_quantized(run, classifier, description, folder, settings, data)
        predicts, facts = predicts | small.predicts, small.facts
        reference |= {"int8": expected, "c": predict_blocks(small.int8, images)}
    checks = verify_files(predicts, images, reference)
    speeds = measure_throughput(
        {"checkpoint": run.predict_logits, **predicts},
        images,
        settings.batch_sizes,
        settings.repeats,
        settings.min_run_time,
    )
    environment = describe_environment(torch.device("cpu"))
    environment["versions"] |= {p: metadata.version(p) for name in settings.formats for p in PACKAGES[name]}
    files = [folder / FILES[name] for name in settings.formats]
    results = {
        "task": "export",
        **run.describe(),
        "metadata": description,
        "data": run.settings.data.name,
        "atol": settings.atol,
        "checkpoint_images_per_second": speeds["checkpoint"],
        "files": [
            {
                "format": name,
                "file": path.name,
                **({"opset": settings.opset} if name in ("onnx", "int8") else {}),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "check": checks.get(name),
                "images_per_second": speeds.get(name),
                **facts.get(name, {}),
            }
            for name, path in zip(settings.formats, files, strict=True)
        ],
        **environment,
    }
    write_text(folder / "export.json", as_json(results))
    print_export(results, folder)
    for path, row in zip(files, results["files"], strict=True):
        if fault := find_fault(row, settings.atol, settings.int8.max_accuracy_drop):
            raise DataError(f"{path}: {fault}")
    return results


def describe(run: Any) -> dict[str, Any]:
    """Describe input and output of a network, and the settings that rebuild it: the metadata of exported files.

    Args:
        run: A `TrainedRun`.

    Returns:
        Plain JSON values: `model` (settings), `classes` (K names), `channels` (1 or 3), `side` (input images, px),
        `fit` (`pad` or `resize`), `mean` and `std` (per channel, of pixels in [0, 1]), `background` (0 to 255).
    """
    return {
        "model": run.settings.model.model_dump(),
        "classes": list(run.classes),
        "channels": run.channels,
        "side": run.side,
        "resize_mode": run.preprocess.fit,
        "mean": run.preprocess.mean,
        "std": run.preprocess.std,
        "background": round(run.preprocess.background * 255),
    }


def write(name: str, run: Any, description: dict[str, Any], folder: Path, settings: ExportSettings) -> Any:
    """Write a `TrainedRun` in one format, and load the file.

    Args:
        name: The format, but neither `int8` nor `c`.
        run: A `TrainedRun`.
        description: The metadata of `describe`.
        folder: The output folder.
        settings: The settings of the command.

    Returns:
        A `formats.Predict` that uses nothing but the file; None for a page without Node.js.
    """
    import torch

    from lenet_pl.export import formats

    path = folder / formats.FILES[name]
    if name == "page":
        from lenet_pl.export import page_file

        return page_file.write_page(run, description, path, settings.page)
    if name == "safetensors":
        formats.write_safetensors(run.model, path, description)
        return torch.inference_mode()(load_safetensors(path))
    model = copy.deepcopy(run.model).to(memory_format=torch.contiguous_format)  # torch.export warns about other formats
    classifier = build_classifier(model, description)
    example = torch.zeros(2, run.channels, run.side, run.side, dtype=torch.uint8)
    if name == "onnx":
        formats.write_onnx(classifier, example, path, settings.opset, description)
        return formats.read_onnx(path)
    formats.write_torch_export(classifier, example, path)
    return formats.read_torch_export(path)


def build_classifier(model: Any, description: dict[str, Any]) -> Any:
    """Combine a network with its preprocessing.

    Args:
        model: A network of `engine.build.build_model`.
        description: The metadata of `describe`.

    Returns:
        A `formats.DeployableModel`.
    """
    from lenet_pl.export.formats import DeployableModel

    inputs = {key: description[key] for key in ("side", "mean", "std", "background")}
    image_size = description["model"]["image_size"]
    return DeployableModel(model, image_size=image_size, fit=description["resize_mode"], **inputs)


def load_safetensors(path: Path) -> Any:
    """Load the network of a `model.safetensors`, in evaluation mode.

    Returns:
        A `formats.DeployableModel`: uint8 (N, C, side, side) → logits, float (N, K).

    Raises:
        DataError: The file is missing or corrupt, or was written by another program or version.
    """
    from lenet_pl.inference.safetensors_file import read_safetensors
    from lenet_pl.models.build import build_model
    from lenet_pl.settings.trained import RecordedModel

    weights, description = read_safetensors(path)
    description = upgraded_metadata(description)
    try:
        settings = validate(RecordedModel, {"model": description["model"]}).model
        model = build_model(settings, description["channels"], len(description["classes"]))
        model.load_state_dict(weights)
        return build_classifier(model, description)
    except (SettingError, RuntimeError, TypeError, KeyError, ValueError) as error:
        why = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not written by this version of lenet_pl ({why})") from None


def require_packages(formats: Sequence[str]) -> None:
    """Raise SettingError if a format needs a package that is not installed."""
    for name in formats:
        for package in PACKAGES[name]:
            try:
                importlib.import_module(package)
            except ImportError:
                raise SettingError(
                    f"formats: {name} needs the package {package}; pip install 'lenet_pl[export]', or leave {name} out"
                ) from None
