"""The table that closes a run."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_results(results: dict[str, Any], place: Path, *, board: bool) -> None:
    """Print the figures of a run, and its notes below.

    Args:
        results: what results.json holds.
        place: of the run folder, as it is to be written.
        board: whether TensorBoard has something to show.
    """
    table = Table(title=f"{results['model']} on {results['data']}, seed {results['seed']}", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")  # a path is never cut off
    metrics = results["metrics"]
    rows = [("parameters", f"{results['parameters']:,}")]
    if results["epochs"]:
        how = ", stopped early" if results["stopped_early"] else ""
        rows += [
            ("best epoch", f"{results['best_epoch']} of {results['epochs']}{how}; lr changed {results['lr_changes']}×"),
            ("validation accuracy", f"{metrics['best/val/accuracy']:.4f}"),
        ]
    if "test/accuracy" in metrics:
        each = [f"{k} {v:.3f}" for k, v in results["per_class_accuracy"].items() if v is not None]
        often = f", tested {results['test_uses']} times by now" if results["test_uses"] > 1 else ""
        rows += [
            ("test accuracy", f"{metrics['test/accuracy']:.4f} of {results['images']['test']:,} images{often}"),
            ("by class", ", ".join(each)),
        ]
        if pair := results["most_confused"]:
            rows.append(("most confused", f"{' and '.join(pair['classes'])}, {pair['count']} images"))
    rows += [
        ("seconds", f"{results['total_seconds']:.1f}, of which training {results['training_seconds']:.1f}"),
        ("images per second", f"{results['images_per_second'] or 0:,.0f} in training"),
        ("everything is in", str(place)),
    ]
    if board:
        rows.append(("look at it with", f"tensorboard --logdir {place}"))
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    for note in results["notes"]:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
