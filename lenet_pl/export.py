"""Write a trained network for use elsewhere: `python -m lenet_pl.export run=<folder> formats=[onnx]`."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.atomic import write_text
from lenet_pl.command import run_command
from lenet_pl.errors import DataError, SettingError
from lenet_pl.settings import validate
from lenet_pl.settings.export import ExportSettings

PACKAGES = {"torch_export": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "safetensors": ("safetensors",)}


def export(settings: ExportSettings, _: Path | None = None) -> dict[str, Any]:
    """Write the files, compare each with the checkpoint on test images, time it, and print a table.

    Args:
        settings: checked settings.

    Returns:
        What export.json holds.

    Raises:
        SettingError: a package that a format needs is not installed.
        DataError: the run cannot be used, or a file does not say what the checkpoint says; it is left for inspection.
    """
    require_packages(settings.formats)
    # torch and Lightning take seconds to import; mistakes in the settings are answered before
    import hashlib
    from importlib import metadata

    import torch

    from lenet_pl.environment import describe_environment
    from lenet_pl.export_check import compare, print_export, rates
    from lenet_pl.exporters import FILES, Predict
    from lenet_pl.text import as_json
    from lenet_pl.trained import open_run, output_folder

    if settings.threads:
        torch.set_num_threads(settings.threads)
    run = open_run(settings)
    test = run.data(accept_changes=settings.data.accept_changes).test_set
    images = test[slice(0, settings.images)].images
    expected = run.logits(images)
    if not expected.isfinite().all():
        raise DataError(f"{run.checkpoint}: gives logits that are not finite; accepted is a sound network")
    folder = output_folder(settings, run, "export")

    description = describe(run)
    predicts: dict[str, Predict] = {
        name: write(name, run, description, folder, settings.opset) for name in settings.formats
    }
    checks = {name: compare(predict, images, expected) for name, predict in predicts.items()}
    speeds = rates(
        {"checkpoint": run.logits, **predicts}, images, settings.batch_sizes, settings.rounds, settings.seconds
    )
    environment = describe_environment(torch.device("cpu"))
    environment["versions"] |= {p: metadata.version(p) for name in settings.formats for p in PACKAGES[name]}
    files = [folder / FILES[name] for name in settings.formats]
    results = {
        "task": "export",
        **run.identity(),
        "metadata": description,
        "data": run.settings.data.name,
        "tolerance": settings.tolerance,
        "checkpoint_images_per_second": speeds["checkpoint"],
        "files": [
            {
                "format": name,
                "file": path.name,
                **({"opset": settings.opset} if name == "onnx" else {}),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "check": checks[name],
                "images_per_second": speeds[name],
            }
            for name, path in zip(settings.formats, files, strict=True)
        ],
        **environment,
    }
    write_text(folder / "export.json", as_json(results))
    print_export(results, folder)
    for path, check in zip(files, checks.values(), strict=True):
        if check["same_class"] < len(images) or check["largest_difference"] > settings.tolerance:
            raise DataError(
                f"{path}: {check['same_class']:,} of {len(images):,} images get the checkpoint's class, logits differ "
                f"by up to {check['largest_difference']:.1e}; accepted is all, and tolerance={settings.tolerance:.1e}"
            )
    return results


def describe(run: Any) -> dict[str, Any]:
    """Say what a user of a file must know of a `TrainedRun`, and what builds the network again; plain JSON values."""
    return {
        "model": run.settings.model.model_dump(),
        "classes": list(run.classes),
        "channels": run.channels,
        "side": run.side,
        "fit": run.to_input.fit,
        "mean": run.to_input.mean,
        "std": run.to_input.std,
        "background": round(run.to_input.background * 255),
    }


def write(name: str, run: Any, description: dict[str, Any], folder: Path, opset: int) -> Any:
    """Write one format of a `TrainedRun` and load it again.

    Returns:
        An `exporters.Predict` that uses nothing but the file.
    """
    import torch

    from lenet_pl import exporters

    path = folder / exporters.FILES[name]
    if name == "safetensors":
        exporters.write_safetensors(run.model, path, description)
        return torch.inference_mode()(load_safetensors(path))
    model = copy.deepcopy(run.model).to(memory_format=torch.contiguous_format)  # torch.export warns of any other
    classifier = build_classifier(model, description)
    example = torch.zeros(2, run.channels, run.side, run.side, dtype=torch.uint8)
    if name == "onnx":
        exporters.write_onnx(classifier, example, path, opset, description)
        return exporters.read_onnx(path)
    exporters.write_torch_export(classifier, example, path)
    return exporters.read_torch_export(path)


def build_classifier(model: Any, description: dict[str, Any]) -> Any:
    """Put the preprocessing that was trained with before a network.

    Args:
        model: of `build.build_model`.
        description: the metadata of an exported file.

    Returns:
        An `exporters.Classifier`.
    """
    from lenet_pl.exporters import Classifier

    inputs = {key: description[key] for key in ("side", "fit", "mean", "std", "background")}
    return Classifier(model, image_size=model.image_size, **inputs)


def load_safetensors(path: Path) -> Any:
    """Build the network of a `model.safetensors`, in evaluation mode.

    Returns:
        An `exporters.Classifier`: uint8 (N, C, side, side) → logits (N, K).

    Raises:
        DataError: the file is absent, damaged, or not of this version of lenet_pl.
    """
    from lenet_pl.build import build_model
    from lenet_pl.exporters import read_safetensors
    from lenet_pl.settings.trained import RecordedModel

    weights, description = read_safetensors(path)
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


if __name__ == "__main__":
    run_command("export", ExportSettings, export)
