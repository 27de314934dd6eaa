"""Show what a network looks at: `python -m lenet_pl.explain run=<folder> [indices=[3,14]]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lenet_pl.command import run_command
from lenet_pl.settings.explain import ExplainSettings


def explain(settings: ExplainSettings, _: Path | None = None) -> dict[str, Any]:
    """Explain what the network makes of some images, print a table, and fill a new folder with pictures.

    Args:
        settings: checked settings.

    Returns:
        What explain.json holds.

    Raises:
        UserError: the run, its checkpoint, the data, the images or the folder cannot be used, or captum is missing.
    """
    # torch takes seconds to import; mistakes in the settings are answered before
    from lenet_pl.errors import DataError
    from lenet_pl.explanation import methods, pictures
    from lenet_pl.explanation.images import own_images, test_images
    from lenet_pl.summary import summarise
    from lenet_pl.text import as_file_name
    from lenet_pl.trained import open_run, output_folder

    if set(settings.methods) - {"feature_maps", "filters"}:
        methods.captum()  # before any work
    run = open_run(settings)
    images, rows = own_images(settings, run) if settings.images else test_images(settings, run)
    logits = run.logits(images)
    if not logits.isfinite().all():
        raise DataError(f"{run.checkpoint}: gives no finite numbers for these images; accepted is a sound network")
    shares, predicted = logits.softmax(1).max(1)
    for row, taken, share in zip(rows, predicted.tolist(), shares.tolist(), strict=True):
        row |= {"predicted": run.classes[taken], "probability": round(share, 6)}

    maps = {}
    if "grad_cam" in settings.methods:
        maps["grad_cam"] = methods.grad_cam(run, images, predicted)
    if "integrated_gradients" in settings.methods:
        signed, delta = methods.integrated_gradients(run, images, predicted, settings.steps)
        maps["integrated_gradients"] = signed
        for row, total, error in zip(rows, signed.sum((1, 2)).tolist(), delta.tolist(), strict=True):
            row |= {"logit_above_background": total - error, "completeness_delta": error}
    if "occlusion" in settings.methods:
        maps["occlusion"] = methods.occlusion(run, images, predicted, settings.window, settings.stride)

    pixels = run.to_input.to_size(images)
    layers = summarise(run.model, run.to_input(images[:1]))
    figures = {"network": pictures.draw_network(layers, list(pixels.shape[1:]), run.name)}
    if "filters" in settings.methods:
        figures["filters"] = pictures.draw_filters(methods.filters(run), f"{run.name}: filters of conv1")
    captions = [_caption(row) for row in rows]
    if maps:
        figures["attributions"] = pictures.draw_attributions(
            pixels, captions, maps, f"{run.name}: what speaks for a class"
        )
    if "feature_maps" in settings.methods:
        layer_maps = methods.feature_maps(run, images)
        for place, (row, caption) in enumerate(zip(rows, captions, strict=True)):
            name = f"{place}_{as_file_name(Path(row['file']).stem)}" if "file" in row else row["index"]
            heading = f"{run.name}: {caption.replace(chr(10), ', ')}"
            one = {layer: values[place] for layer, values in layer_maps.items()}
            figures[f"feature_maps_{name}"] = pictures.draw_feature_maps(pixels[place], one, heading)

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
    if missing:  # they are what was asked for
        raise DataError(f"{folder}: {missing[0]}")
    return results


def _caption(row: dict[str, Any]) -> str:
    from lenet_pl.text import label

    start = label(Path(row["file"]).stem, 20) if "file" in row else f"image {row['index']}\nis {label(row['true'], 20)}"
    return f"{start}\ntaken for {label(row['predicted'], 20)}\n{row['probability']:.1%}"


def _write(folder: Path, results: dict[str, Any], figures: dict[str, Any], *, tensorboard: bool) -> list[str]:
    """Write explain.json and the pictures; return what could not be written, a line each."""
    from lenet_pl.atomic import write_text
    from lenet_pl.figure import save_figures
    from lenet_pl.optional_work import optional
    from lenet_pl.text import as_json

    missing: list[str] = []
    write_text(folder / "explain.json", as_json(results, allow_nan=False))
    for name, figure in figures.items():
        with optional(f"{name}.png", missing):
            save_figures(folder, {name: figure})
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        with optional("part of the TensorBoard", missing), SummaryWriter(str(folder / "tensorboard")) as board:
            for name, figure in figures.items():
                board.add_figure(name, figure, close=False)
    return missing


def _print(folder: Path, results: dict[str, Any], figures: dict[str, Any]) -> None:
    """Print what was explained, and where the pictures are."""
    from rich.table import Table

    from lenet_pl.console import Console
    from lenet_pl.errors import from_here
    from lenet_pl.text import label

    table = Table("image", "is", "taken for", "probability", title=results["name"])
    for row in results["images"]:
        what = str(row.get("file", row.get("index")))
        table.add_row(what, label(row.get("true", "")), label(row["predicted"]), f"{row['probability']:.1%}")
    console = Console()
    console.print(table)
    there = sum((folder / f"{name}.png").exists() for name in figures)
    console.print(f"{there} pictures and explain.json are in {from_here(folder)}", soft_wrap=True)


if __name__ == "__main__":
    run_command("explain", ExplainSettings, explain)
