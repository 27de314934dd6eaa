"""Classify your own images with a trained network: `python -m lenet_pl.predict run=<folder> images=<...>`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.display.text import as_csv, as_json, label
from lenet_pl.errors import DataError, display_path, printable
from lenet_pl.photo.find_files import find_images
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.optional_work import optional
from lenet_pl.settings.predict import PredictSettings

ON_SHEET = 60  # photos on the contact sheet; the tables contain all


def predict(settings: PredictSettings) -> list[dict[str, Any]]:
    """Classify images, print a table, and write it with a contact sheet to a new folder.

    Args:
        settings: The settings of the command.

    Returns:
        The entry `images` of predictions.json, one dictionary per image, or per digit with `photo.many`:

        - `file`: path of the image
        - `digit` (number, from 1) and `box` (left, top, right, bottom in px of the photo), only with `photo.many`
        - `class`, `probability`, `second`, `second_probability`: the two most probable classes
        - `probabilities`: by class name
        - `notes`: reasons to doubt the prediction

        predictions.json also has `task` ("predict"), `run` and `name`. There, an image that cannot be used has `file`
        and `error` only.

    Raises:
        UserError: The run, the images or the output folder cannot be used.
        DataError: An image could not be used. All others are classified and written before.
    """
    files = find_images([settings.images] if isinstance(settings.images, str) else settings.images)

    # torch takes seconds to import; a misspelled file name is reported earlier
    from rich.progress import track

    from lenet_pl.display.console import Console
    from lenet_pl.display.figure import save_figures
    from lenet_pl.inference.output_folder import output_folder
    from lenet_pl.inference.trained_run import open_run
    from lenet_pl.photo.prepare import see, unsure
    from lenet_pl.photo.read_photo import read_photo
    from lenet_pl.predict.contact_sheet import Cell, draw_contact_sheet, thumbnail

    run = open_run(settings)
    folder: Path | None = None  # created with the first prediction
    predictions: list[dict[str, Any]] = []
    cells: list[Cell] = []
    for file in track(files, "classifying", console=Console(stderr=True), transient=True, disable=len(files) < 20):
        name = printable(file)
        try:
            photo = read_photo(file, name)
            sights = see(photo, run, settings.photo, many=settings.photo.many)
        except DataError as error:
            predictions.append({"file": name, "error": str(error)})
            continue
        boxes = [sight.box for sight in sights]
        for number, sight in enumerate(sights, 1):
            found = describe(run.predict_logits(sight.image[None])[0].softmax(0).tolist(), run.classes)
            if found is None:
                raise DataError(
                    f"{run.checkpoint}: produces NaN or infinite logits for {name}; the checkpoint cannot be used"
                )
            folder = folder or output_folder(settings, run, "predict")
            notes = sight.notes + unsure(found["probability"])
            place = {"digit": number, "box": sight.box} if settings.photo.many else {}
            predictions.append({"file": name, **place, **found, "notes": notes})
            if len(cells) < ON_SHEET:
                title = f"{label(file.name, 30)}\n{label(found['class'], 24)}  {found['probability']:.1%}"
                shown = thumbnail(photo, boxes if settings.photo.many else [], number)
                cells.append(Cell(shown, sight.image, title, "; ".join(notes)))
    failed = [p["error"] for p in predictions if "error" in p]
    several = f"images: {len(failed)} of {len(files)} could not be used, the first: " if len(files) > 1 else ""
    if folder is None:
        raise DataError(f"{several}{failed[0]}")
    write_tables(folder, predictions, run.classes, {"run": str(run.folder), "name": run.name})
    more = f", the first {len(cells)}" if len(cells) < sum("class" in p for p in predictions) else ""
    with optional("predictions.png", []):
        sheet = draw_contact_sheet(cells, f"{run.name}{more}; right: the network's input")
        save_figures(folder, {"predictions": sheet})
    print_table(predictions, folder)
    if failed:
        raise DataError(f"{several}{failed[0]}")
    return predictions


def describe(probabilities: Sequence[float], classes: Sequence[str]) -> dict[str, Any] | None:
    """Describe the probabilities of one image by the keys `class` to `probabilities` of `predict`.

    Args:
        probabilities: K probabilities.
        classes: K class names.

    Returns:
        Plain JSON values; None if a probability is not finite.
    """
    if not all(map(math.isfinite, probabilities)):
        return None
    first, second = sorted(range(len(classes)), key=lambda k: -probabilities[k])[:2]
    return {
        "class": classes[first],
        "probability": probabilities[first],
        "second": classes[second],
        "second_probability": probabilities[second],
        "probabilities": dict(zip(classes, probabilities, strict=True)),
    }


def write_tables(
    folder: Path, predictions: Sequence[dict[str, Any]], classes: Sequence[str], about: dict[str, Any]
) -> None:
    """Write predictions.json, and predictions.csv with one row per image or digit.

    Args:
        folder: The output folder.
        predictions: The predictions of `predict`.
        classes: K class names.
        about: Further entries of predictions.json.
    """
    text = as_json({"task": "predict", **about, "images": predictions})
    write_text(folder / "predictions.json", text)
    columns = ["file", *(["digit"] if any("digit" in row for row in predictions) else [])]
    columns += ["class", "probability", "second", "second_probability"]
    rows: list[list[Any]] = [[*columns, *(f"probability of {name}" for name in classes), "note", "error"]]
    for row in predictions:
        each = row.get("probabilities", {})
        cells = [row.get(c, "") for c in columns] + [each.get(name, "") for name in classes]
        rows.append([*cells, "; ".join(row.get("notes", [])), row.get("error", "")])
    write_text(folder / "predictions.csv", as_csv(rows))


def print_table(predictions: Sequence[dict[str, Any]], folder: Path) -> None:
    """Print the prediction for each image, or the reason why it could not be used."""
    from rich.table import Table
    from rich.text import Text

    from lenet_pl.display.console import Console

    table = Table(title="predictions")
    noted = any(row.get("notes") for row in predictions)
    for heading in ("file", "class", "probability", "second guess", *(["note"] if noted else [])):
        table.add_column(heading, overflow="fold")
    for row in predictions:
        if "error" in row:
            why = row["error"].removeprefix(f"{row['file']}: ")
            table.add_row(row["file"], Text("error", style="red"), "", why)
        else:
            second = f"{label(row['second'])}  {row['second_probability']:.1%}"
            file = f"{row['file']} ({row['digit']})" if "digit" in row else row["file"]
            noted_here = ["; ".join(row["notes"])] if noted else []
            table.add_row(file, label(row["class"]), f"{row['probability']:.1%}", second, *noted_here)
    table.caption = f"everything is in {display_path(folder)}"
    Console().print(table)
