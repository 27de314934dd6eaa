"""inspect.html, inspect.json, findings.csv, the pictures and the table on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from lenet_pl.artifacts.report import embed_picture, write_page
from lenet_pl.display.console import Console
from lenet_pl.display.figure import save_figures
from lenet_pl.display.text import as_bdi, as_csv, as_html, as_json, label
from lenet_pl.errors import display_path, printable
from lenet_pl.inspect.figures import draw_findings, draw_mean_images
from lenet_pl.inspect.findings import COLUMNS, KINDS, Finding, of_kind, rows_of
from lenet_pl.inspect.images import AllImages
from lenet_pl.inspect.statistics import Statistics
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.optional_work import optional

MEANING = {
    "exact_duplicate": "The pixels are the same. In another split, a copy makes scores better than they are.",
    "near_duplicate": "The correlation of the pixels, at the best small shift, is at least {near_duplicates}.",
    "label_error": (
        "Networks that were trained without the image predict another class. The score is the probability of the given "
        "label. Look before you correct anything: rare but right images are among them."
    ),
    "unlikely_label": (
        "The networks predict another class, but not so clearly that confident learning counts the label as wrong."
    ),
    "nearly_empty": "Less than 1% of the pixels differ noticeably from the median level; the score is this fraction.",
    "brightness": "The mean gray level is an outlier of the class; the score is the modified z-score.",
    "contrast": "The contrast, a standard deviation of gray levels, is an outlier; the score is the modified z-score.",
    "outlier": "The most similar image is unusually far away; the score is the modified z-score of the log distance.",
}


def write_report(
    folder: Path,
    results: dict[str, Any],
    images: AllImages,
    statistics: Statistics,
    findings: Sequence[Finding],
    max_pictures: int,
) -> None:
    """Write all files and print the summary.

    Args:
        folder: The output folder.
        results: The content of inspect.json.
        images: All images.
        statistics: Their statistics.
        findings: The findings, by kind and then by rank.
        max_pictures: The number of images of each kind in a picture.
    """
    rows = rows_of(findings, images)
    with optional("mean_images.png", []):
        save_figures(folder, {"mean_images": draw_mean_images(images, statistics.mean_images)})
    for kind in KINDS:
        if own := of_kind(findings, kind):
            with optional(f"{kind}.png", []):
                save_figures(folder, {kind: draw_findings(images, own[:max_pictures], len(own))})
    title = f"Inspection of {printable(results['data'])}"
    write_page(folder / "inspect.html", title, _content(folder, results, rows, max_pictures))
    write_text(folder / "findings.csv", as_csv([COLUMNS, *rows]))
    write_text(folder / "inspect.json", as_json(results, allow_nan=False))  # last: the inspection is finished
    _print(folder, results)


def _content(folder: Path, results: dict[str, Any], rows: Sequence[Sequence[Any]], most: int) -> str:
    sizes = ", ".join(f"{count:,} of {size}" for size, count in list(results["sizes"].items())[:5])
    facts = {f"{name} images": f"{count:,}" for name, count in results["images"].items()}
    facts |= {"classes": str(len(results["classes"])), "channels": str(results["channels"]), "sizes in px": sizes}
    facts |= {"gray levels": "{} to {}".format(*results["value_range"])}
    if results["accuracy"] is not None:
        facts["labels predicted by the networks"] = f"{results['accuracy']:.2%}"
    parts = [_table([(name, as_html(value)) for name, value in facts.items()])]
    summary = [(heading, *_counts(results["findings"].get(kind))) for kind, heading in KINDS.items()]
    parts += ["<h2>Findings</h2>", _table(summary, ("", "images", "between splits", "different labels"))]
    classes = [
        (
            as_bdi(name),
            *(f"{count:,}" for count in one["images"].values()),
            *(f"{one[what]:.1f} ± {one[f'{what}_std']:.1f}" for what in ("brightness", "contrast")),
        )
        for name, one in results["per_class"].items()
    ]
    headings = ("class", *results["images"], "brightness", "contrast")
    parts += ["<h2>Classes</h2>", "<p>Mean ± standard deviation over the images, in gray levels of 0 to 255.</p>"]
    parts += [_table(classes, headings), _picture(folder, "mean_images")]
    for kind, heading in KINDS.items():
        own = [row for row in rows if row[0] == kind]
        if own:
            meaning = MEANING[kind].format(**results["settings"])
            parts += [f"<h2>{heading}</h2><p>{meaning}", _shown(len(own), most), _picture(folder, kind)]
            parts.append(_table([[as_html(value) for value in row[1:]] for row in own[:most]], COLUMNS[1:]))
    parts.append(f"<h2>Command</h2><pre>{as_html(results['command'])}</pre>\n")
    return "\n".join(parts)


def _shown(count: int, most: int) -> str:
    return f" The first {most} of {count:,}; findings.csv has all.</p>" if count > most else "</p>"


def _counts(found: dict[str, int] | None) -> list[str]:
    """Write the counts of a kind; None if it was not searched."""
    if found is None:
        return ["not searched", "", ""]
    return [f"{found[key]:,}" if key in found else "" for key in ("images", "between_splits", "different_labels")]


def _picture(folder: Path, name: str) -> str:
    file = folder / f"{name}.png"
    return f'<img alt="{name}" src="{embed_picture(file)}">' if file.exists() else ""


def _table(rows: Sequence[Sequence[str]], headings: Sequence[str] = ()) -> str:
    """Write a table whose cells are HTML already."""
    head = "".join(f"<th>{as_html(heading.replace('_', ' '))}" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows)
    return f"<table>{f'<tr>{head}' if head else ''}{body}</table>"


def _print(folder: Path, results: dict[str, Any]) -> None:
    images = ", ".join(f"{count:,} {name}" for name, count in results["images"].items())
    table = Table(title=f"{label(results['data'])}: {images} images")
    table.add_column("finding")
    for heading in ("images", "between splits", "different labels"):
        table.add_column(heading, justify="right")
    for kind, heading in KINDS.items():
        table.add_row(heading.lower(), *_counts(results["findings"].get(kind)))
    console = Console()
    console.print(table)
    console.print(f"everything is in {display_path(folder)}; start with inspect.html")
