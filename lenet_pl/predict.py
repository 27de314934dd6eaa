"""What a trained network sees in the user's own images: `python -m lenet_pl.predict run=<folder> images=<...>`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.atomic import write_text
from lenet_pl.command import run_command
from lenet_pl.errors import DataError, printable
from lenet_pl.optional_work import optional
from lenet_pl.photo.find import find_images
from lenet_pl.settings.predict import PredictSettings

FORMULA = ("=", "+", "-", "@")  # with which text begins that spreadsheets would compute; no probability does
ON_SHEET = 60  # photos on the contact sheet; the tables have all


def predict(settings: PredictSettings, _: Path | None = None) -> list[dict[str, Any]]:
    """Classify images; print a table, and fill a new folder with it and with a contact sheet.

    Args:
        settings: checked settings.

    Returns:
        What predictions.json holds of each image.

    Raises:
        UserError: there is no such run, or there are no such images.
        DataError: an image could not be used; the others have been classified and written by then.
    """
    files = find_images([settings.images] if isinstance(settings.images, str) else settings.images)

    # torch takes seconds to import; a misspelt file is answered before
    from rich.console import Console
    from rich.progress import track

    from lenet_pl.photo.contact_sheet import Cell, draw_contact_sheet, thumbnail
    from lenet_pl.photo.prepare import prepare, read_photo
    from lenet_pl.trained import open_run, output_folder

    run = open_run(settings)
    folder: Path | None = None  # is made for the first prediction, as without any there is nothing to put there
    predictions: list[dict[str, Any]] = []
    cells: list[Cell] = []
    for file in track(files, "looking", console=Console(stderr=True), transient=True, disable=len(files) < 20):
        name = printable(file)
        try:
            photo = read_photo(file, name)
            seen = prepare(photo, run, settings.photo)
        except DataError as error:
            predictions.append({"file": name, "error": str(error)})
            continue
        found = describe(run.logits(seen[None])[0].softmax(0).tolist(), run.classes)
        if found is None:
            raise DataError(f"{run.checkpoint}: gives no finite numbers for {name}; accepted is a sound network")
        folder = folder or output_folder(settings, run, "predict")
        predictions.append({"file": name, **found})
        if len(cells) < ON_SHEET:
            title = f"{printable(file.name)[-30:]}\n{found['class']}  {found['probability']:.1%}"
            cells.append(Cell(thumbnail(photo), seen, title))
    failed = [p["error"] for p in predictions if "error" in p]
    several = f"images: {len(failed)} of {len(files)} could not be used, the first: " if len(files) > 1 else ""
    if folder is None:
        raise DataError(f"{several}{failed[0]}")
    write_tables(folder, predictions, run.classes, {"run": str(run.folder), "name": run.name})
    more = f", the first {len(cells)}" if len(cells) < sum("class" in p for p in predictions) else ""
    with optional("predictions.png", []):
        draw_contact_sheet(cells, f"{run.name}{more}; right: what the network saw").savefig(
            folder / "predictions.png", dpi=110
        )
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
    text = json.dumps({"task": "predict", **about, "images": predictions}, indent=2, ensure_ascii=False)
    write_text(folder / "predictions.json", text + "\n")
    columns = ["file", "class", "probability", "second", "second_probability"]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*columns, *(f"probability of {name}" for name in classes), "error"])
    for row in predictions:
        each = row.get("probabilities", {})
        cells = [row.get(c, "") for c in columns] + [each.get(name, "") for name in classes] + [row.get("error", "")]
        writer.writerow([f"'{cell}" if str(cell).startswith(FORMULA) else cell for cell in cells])
    write_text(folder / "predictions.csv", table.getvalue())


def print_table(predictions: Sequence[dict[str, Any]], folder: Path) -> None:
    """Show what was seen in each image, or why it could not be used."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="predictions")
    for heading in ("file", "class", "probability", "second guess"):
        table.add_column(heading, overflow="fold")
    for row in predictions:
        if "error" in row:
            why = row["error"].removeprefix(f"{row['file']}: ")
            table.add_row(escape(row["file"]), "[red]error[/red]", "", escape(why))
        else:
            second = f"{row['second']}  {row['second_probability']:.1%}"
            table.add_row(escape(row["file"]), escape(row["class"]), f"{row['probability']:.1%}", escape(second))
    table.caption = f"everything is in {escape(str(folder))}"
    Console().print(table)


if __name__ == "__main__":
    run_command("predict", PredictSettings, predict)
