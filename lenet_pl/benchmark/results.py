"""The benchmark's tables and picture."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

HEADINGS = ("model", "augment", "batch", "loop", "images/s", "spread", "of the tuned loop", "of the machine")


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Print the table; write benchmark.json, benchmark.md and benchmark.png."""
    (folder / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n")
    lines = [HEADINGS, *(_cells(row) for row in results["rows"])]
    rates = ", ".join(f"{name.replace(', ', ' ')} {value:.1f}" for name, value in results["machine"].items())
    where = (
        f"{results['device']}, {results['threads']} of {results['cores']} threads, torch {results['versions']['torch']}"
    )
    caption = f"{where}; {rates}"
    markdown = [f"| {' | '.join(line)} |" for line in lines]
    markdown.insert(1, "|" + "---|" * len(HEADINGS))
    (folder / "benchmark.md").write_text("\n".join([*markdown, "", caption]) + "\n")
    _draw(results).savefig(folder / "benchmark.png", dpi=110)
    table = Table(*HEADINGS, title="training, images per second", caption=caption)
    for line in lines[1:]:
        table.add_row(*line)
    console = Console()
    console.print(table)
    console.print(f"everything is in {folder}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["model"],
        row["augment"],
        str(row["batch_size"]),
        row["loop"],
        f"{row['images_per_second']:,.0f}",
        f"{row['smallest']:,.0f}–{row['largest']:,.0f}",
        f"{row['to_tuned']:.2f}",
        f"{row['share_of_machine']:.0%}",
    )


def _draw(results: dict[str, Any]) -> Figure:
    """Draw one bar for each row, grouped by model, augmentation and batch size."""
    rows = results["rows"]
    figure = Figure(figsize=(9, 1 + 0.28 * len(rows)), layout="constrained")
    axis = figure.subplots()
    colours = {loop: f"C{k}" for k, loop in enumerate(dict.fromkeys(row["loop"] for row in rows))}
    for place, row in enumerate(rows):
        middle = row["images_per_second"]
        spread = [[middle - row["smallest"]], [row["largest"] - middle]]
        axis.barh(place, middle, xerr=spread, color=colours[row["loop"]])
    names = [f"{r['model']}, {r['augment']}, {r['batch_size']}: {r['loop']}" for r in rows]
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel="images per second in training (median, smallest, largest)", xscale="log")
    return figure
