"""Closing tables of a run, and of several runs."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from lenet_pl.display.console import Console
from lenet_pl.display.text import label


def print_results(results: dict[str, Any], place: str, *, views: Sequence[str] = (), busy: str = "") -> None:
    """Print the results of a run, followed by its notes.

    Args:
        results: The content of results.json.
        place: The path of the run folder, as printed.
        views: Commands or addresses with which the logs are viewed.
        busy: A note about other load on the machine; empty for none.
    """
    table = Table(title=f"{results['model']} on {label(results['data'])}, seed {results['seed']}", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # paths are wrapped, never truncated
    metrics = results["metrics"]
    rows = [("parameters", f"{results['parameters']:,}")]
    if results["epochs"]:
        how = ", stopped early" if results["stopped_early"] else ""
        rows += [
            (
                "best epoch",
                f"{results['best_epoch']} of {results['epochs']}{how}; lr changed {results['num_lr_changes']}×",
            ),
        ]
    if "best/val/accuracy" in metrics:
        rows.append(("validation accuracy", f"{metrics['best/val/accuracy']:.4f}"))
    if "test/accuracy" in metrics:
        each = [f"{label(k)} {v:.3f}" for k, v in results["per_class_accuracy"].items() if v is not None]
        often = f", tested {results['test_uses']} times so far" if results["test_uses"] > 1 else ""
        rows += [
            ("test accuracy", f"{metrics['test/accuracy']:.4f} of {results['images']['test']:,} images{often}"),
            ("by class", ", ".join(each)),
        ]
        if pair := results["most_confused"]:
            rows.append(("most confused", f"{' and '.join(map(label, pair['classes']))}, {pair['count']} images"))
    rows += [
        ("seconds", f"{results['total_seconds']:.1f}, including {results['training_seconds']:.1f} of training"),
        ("images per second", f"{results['images_per_second'] or 0:,.0f} during training"),
        ("everything is in", place),
    ]
    if busy:
        rows.append(("machine", f"{busy}; training would be faster on an idle machine"))
    rows += [("view with", view) for view in views]
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for note in results["notes"]:
        console.print(f"note: {note}", soft_wrap=True)


def print_several(
    title: str, kind: str, each: dict[int, dict[str, Any]], place: str, *, pooled: dict[str, float] | None = None
) -> None:
    """Print a table with one row per run and the mean ± standard deviation, followed by the notes of the runs.

    Args:
        title: The title of the table.
        kind: What distinguishes the runs, "seed" or "fold".
        each: The content of results.json for each seed or fold.
        place: The path of their common folder, as printed.
        pooled: Metrics over the images of all runs, by column.
    """
    table = Table(title=title)
    shown = {"validation accuracy": "best/val/accuracy", "test accuracy": "test/accuracy"}
    shown = {heading: name for heading, name in shown.items() if all(name in one["metrics"] for one in each.values())}
    for heading in (kind, "best epoch", *shown, "seconds"):
        table.add_column(heading, justify="right")
    for number, one in each.items():
        scores = [f"{one['metrics'][name]:.4f}" for name in shown.values()]
        epochs = f"{one['best_epoch']} of {one['epochs']}" if one["epochs"] else ""
        table.add_row(str(number), epochs, *scores, f"{one['training_seconds']:.1f}")
    if len(each) > 1:
        means = (spread([one["metrics"][name] for one in each.values()]) for name in shown.values())
        table.add_section()
        table.add_row("mean ± std", "", *means, "")
    if pooled:
        table.add_row("all images", "", *(f"{pooled[name]:.4f}" if name in pooled else "" for name in shown), "")
    console = Console()
    console.print(table)
    for number, one in each.items():
        for note in one["notes"] or ():
            console.print(f"note: {kind} {number}: {note}", soft_wrap=True)
    console.print(f"everything is in {place}", soft_wrap=True)


def spread(values: Sequence[float]) -> str:
    """Format the mean ± sample standard deviation, or the value if there is only one."""
    mean = statistics.fmean(values)
    return f"{mean:.4f} ± {statistics.stdev(values):.4f}" if len(values) > 1 else f"{mean:.4f}"
