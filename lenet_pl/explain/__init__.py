"""Explain predictions with attribution and feature maps: `python -m lenet_pl.explain run=<folder> [indices=[3,14]]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lenet_pl.settings.explain import ExplainSettings


def explain(settings: ExplainSettings) -> dict[str, Any]:
    """Explain predictions for some images, print a table, and write a new folder with figures.

    Args:
        settings: The settings of the command.

    Returns:
        The content of explain.json:

        - `task` ("explain"), `checkpoint` (path), `name` (model, data and seed), `settings` (of this command)
        - `images`, one dictionary per image: `index` (in the test split) and `true` (class name), or `file` for the
          user's own images; `predicted` (class name) and `probability`; with integrated gradients also
          `logit_above_background` (difference of the logits of image and background) and `completeness_delta` (error
          of the integration)

    Raises:
        UserError: The run, its checkpoint, the data, the images or the output folder cannot be used, captum is not
            installed, or a figure could not be written (after all others).
    """
    # torch takes seconds to import; errors in the settings are reported earlier
    from lenet_pl.artifacts.layer_table import summarize
    from lenet_pl.attribution import methods, plots
    from lenet_pl.display.text import as_file_name
    from lenet_pl.errors import DataError
    from lenet_pl.explain.images import own_images, test_images
    from lenet_pl.inference.output_folder import output_folder
    from lenet_pl.inference.trained_run import open_run

    if set(settings.methods) - {"feature_maps", "filters"}:
        methods.captum()  # before any work
    run = open_run(settings)
    images, rows = own_images(settings, run) if settings.images else test_images(settings, run)
    logits = run.predict_logits(images)
    if not logits.isfinite().all():
        raise DataError(
            f"{run.checkpoint}: produces NaN or infinite logits for these images; the checkpoint cannot be used"
        )
    shares, predicted = logits.softmax(1).max(1)
    for row, taken, share in zip(rows, predicted.tolist(), shares.tolist(), strict=True):
        row |= {"predicted": run.classes[taken], "probability": round(share, 6)}

    maps = {}
    if "grad_cam" in settings.methods:
        maps["grad_cam"] = methods.grad_cam(run, images, predicted)
    if "integrated_gradients" in settings.methods:
        signed, delta = methods.integrated_gradients(run, images, predicted, settings.n_steps)
        maps["integrated_gradients"] = signed
        for row, total, error in zip(rows, signed.sum((1, 2)).tolist(), delta.tolist(), strict=True):
            row |= {"logit_above_background": total - error, "completeness_delta": error}
    if "occlusion" in settings.methods:
        maps["occlusion"] = methods.occlusion(run, images, predicted, settings.window_size, settings.stride)

    pixels = run.preprocess.resize(images)
    layers = summarize(run.model, run.preprocess(images[:1]))
    figures = {"network": plots.draw_network(layers, list(pixels.shape[1:]), run.name)}
    if "filters" in settings.methods:
        figures["filters"] = plots.draw_filters(methods.filters(run), f"{run.name}: filters of conv1")
    captions = [_caption(row) for row in rows]
    if maps:
        figures["attributions"] = plots.draw_attributions(pixels, captions, maps, f"{run.name}: attribution maps")
    if "feature_maps" in settings.methods:
        layer_maps = methods.feature_maps(run, images)
        for place, (row, caption) in enumerate(zip(rows, captions, strict=True)):
            name = f"{place}_{as_file_name(Path(row['file']).stem)}" if "file" in row else row["index"]
            heading = f"{run.name}: {caption.replace(chr(10), ', ')}"
            one = {layer: values[place] for layer, values in layer_maps.items()}
            figures[f"feature_maps_{name}"] = plots.draw_feature_maps(pixels[place], one, heading)

    folder = output_folder(settings, run, "explain")
    results = {
        "task": "explain",
        "checkpoint": str(run.checkpoint),
        "name": run.name,
        "settings": settings.model_dump(),
        "images": rows,
    }
    missing = _write(folder, results, figures, tensorboard=settings.tensorboard)
    _print(folder, results, figures)
    if missing:  # unlike in other commands, figures are the result
        raise DataError(f"{folder}: {missing[0]}")
    return results


def _caption(row: dict[str, Any]) -> str:
    from lenet_pl.display.text import label

    start = label(Path(row["file"]).stem, 20) if "file" in row else f"image {row['index']}\nis {label(row['true'], 20)}"
    return f"{start}\npredicted {label(row['predicted'], 20)}\n{row['probability']:.1%}"


def _write(folder: Path, results: dict[str, Any], figures: dict[str, Any], *, tensorboard: bool) -> list[str]:
    """Write explain.json and the figures; return one line per file that could not be written."""
    from lenet_pl.display.figure import save_figures
    from lenet_pl.display.text import as_json
    from lenet_pl.runtime.atomic_files import write_text
    from lenet_pl.runtime.optional_work import optional

    missing: list[str] = []
    write_text(folder / "explain.json", as_json(results, allow_nan=False))
    for name, figure in figures.items():
        with optional(f"{name}.png", missing):
            save_figures(folder, {name: figure})
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        with optional("part of the TensorBoard log", missing), SummaryWriter(str(folder / "tensorboard")) as board:
            for name, figure in figures.items():
                board.add_figure(name, figure, close=False)
    return missing


def _print(folder: Path, results: dict[str, Any], figures: dict[str, Any]) -> None:
    """Print the explained images, and where the figures are."""
    from rich.table import Table

    from lenet_pl.display.console import Console
    from lenet_pl.display.text import label
    from lenet_pl.errors import display_path

    table = Table("image", "true", "predicted", "probability", title=results["name"])
    for row in results["images"]:
        what = str(row.get("file", row.get("index")))
        table.add_row(what, label(row.get("true", "")), label(row["predicted"]), f"{row['probability']:.1%}")
    console = Console()
    console.print(table)
    there = sum((folder / f"{name}.png").exists() for name in figures)
    console.print(f"{there} figures and explain.json are in {display_path(folder)}", soft_wrap=True)
