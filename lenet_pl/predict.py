"""What a trained network sees in the user's own images: `python -m lenet_pl.predict run=<folder> images=<...>`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.atomic import write_text
from lenet_pl.command import run_command
from lenet_pl.errors import DataError, from_here, printable
from lenet_pl.optional_work import optional
from lenet_pl.photo.find import find_images
from lenet_pl.settings.predict import PredictSettings
from lenet_pl.text import as_csv, as_json, label

ON_SHEET = 60  # photos on the contact sheet; the tables have all


def predict(settings: PredictSettings, _: Path | None = None) -> list[dict[str, Any]]:
    """Classify images; print a table, and fill a new folder with it and with a contact sheet.

    Args:
        settings: checked settings.

    Returns:
        What predictions.json holds of each image, or with `photo.many` of each digit.

    Raises:
        UserError: there is no such run, or there are no such images.
        DataError: an image could not be used; the others have been classified and written by then.
    """
    files = find_images([settings.images] if isinstance(settings.images, str) else settings.images)

    # torch takes seconds to import; a misspelt file is answered before
    from rich.progress import track

    from lenet_pl.console import Console
    from lenet_pl.figure import save_figures
    from lenet_pl.photo.contact_sheet import Cell, draw_contact_sheet, thumbnail
    from lenet_pl.photo.prepare import read_photo, see, unsure
    from lenet_pl.trained import open_run, output_folder

    run = open_run(settings)
    folder: Path | None = None  # is made for the first prediction, as without any there is nothing to put there
    predictions: list[dict[str, Any]] = []
    cells: list[Cell] = []
    for file in track(files, "looking", console=Console(stderr=True), transient=True, disable=len(files) < 20):
        name = printable(file)
        try:
            photo = read_photo(file, name)
            sights = see(photo, run, settings.photo, many=settings.photo.many)
        except DataError as error:
            predictions.append({"file": name, "error": str(error)})
            continue
        boxes = [sight.box for sight in sights]
        for number, sight in enumerate(sights, 1):
            found = describe(run.logits(sight.image[None])[0].softmax(0).tolist(), run.classes)
            if found is None:
                raise DataError(f"{run.checkpoint}: gives no finite numbers for {name}; accepted is a sound network")
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
        sheet = draw_contact_sheet(cells, f"{run.name}{more}; right: what the network saw")
        save_figures(folder, {"predictions": sheet})
    print_table(predictions, folder)
    if failed:
        raise DataError(f"{several}{failed[0]}")
    return predictions


def describe(probabilities: Sequence[float], classes: Sequence[str]) -> dict[str, Any] | None:
    """Say which class is likeliest, which comes second, and how likely each is; None if that is not a number."""
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
    """Write predictions.csv, a row for each image, and predictions.json."""
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
    """Show what was seen in each image, or why it could not be used."""
    from rich.table import Table
    from rich.text import Text

    from lenet_pl.console import Console

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
    table.caption = f"everything is in {from_here(folder)}"
    Console().print(table)


if __name__ == "__main__":
    run_command("predict", PredictSettings, predict)
