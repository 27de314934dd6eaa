"""Does an exported file say what the checkpoint says, and how fast is it?"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from lenet_pl.console import Console
from lenet_pl.errors import from_here
from lenet_pl.exporters import Predict

BLOCK = 1000  # images that pass through at once
WARM_UP = 3  # calls


def compare(predict: Predict, images: Tensor, expected: Tensor) -> dict[str, Any]:
    """Compare logits on real images.

    Args:
        predict: of the file.
        images: uint8 (N, C, side, side).
        expected: float (N, K), logits of the checkpoint.

    Returns:
        How many images get the same class, and the largest difference of a logit; not a number is a huge one.
    """
    logits = torch.cat([predict(block) for block in torch.split(images, BLOCK)])
    difference = (logits - expected).abs().nan_to_num(nan=torch.finfo(logits.dtype).max)
    return {
        "images": len(images),
        "same_class": int((logits.argmax(1) == expected.argmax(1)).sum()),
        "largest_difference": float(difference.max()),
    }


def rates(
    predicts: Mapping[str, Predict], images: Tensor, batch_sizes: Sequence[int], rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Measure images per second, in rounds in which all take turns, so that a busy moment hits all alike.

    Args:
        predicts: what is timed.
        images: uint8 (N, C, side, side), repeated where a batch needs more.
        batch_sizes: images that are classified at once.
        rounds: how often each takes its turn.
        seconds: of one turn.

    Returns:
        For each name and batch size the median over the rounds.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in predicts}
    for size in batch_sizes:
        batch = images[torch.arange(size) % len(images)]
        calls = {name: calls_within(seconds, predict, batch) for name, predict in predicts.items()}
        turns = [{n: calls[n] / _seconds(p, batch, calls[n]) for n, p in predicts.items()} for _ in range(rounds)]
        for name in predicts:
            found[name][str(size)] = round(size * median(turn[name] for turn in turns), 1)
    return found


def calls_within(seconds: float, predict: Predict, batch: Tensor) -> int:
    """Find about how many calls fit into the time; the first ones, which prepare things, are not counted."""
    _seconds(predict, batch, WARM_UP)
    return max(1, round(seconds * WARM_UP / _seconds(predict, batch, WARM_UP)))


def _seconds(predict: Predict, batch: Tensor, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        predict(batch)
    return time.perf_counter() - start


def print_export(results: dict[str, Any], folder: Path) -> None:
    """Print one line for the checkpoint and for each file."""
    sizes = list(results["checkpoint_images_per_second"])
    table = Table(title=results["name"], caption="images per second at each batch size, medians over the rounds")
    table.add_column("file", no_wrap=True)
    for heading in ("MB", "same class", "difference", *(f"batch {size}" for size in sizes)):
        table.add_column(heading, justify="right")

    def speed(row: dict[str, float]) -> list[str]:
        return [f"{row[size]:,.0f}" for size in sizes]

    table.add_row("checkpoint", "", "", "", *speed(results["checkpoint_images_per_second"]))
    for row in results["files"]:
        check = row["check"]
        same, images = check["same_class"], check["images"]
        table.add_row(
            row["file"],
            f"{row['bytes'] / 1e6:.2f}",
            f"{'all' if same == images else f'{same:,} of'} {images:,}",
            f"{check['largest_difference']:.1e}",
            *speed(row["images_per_second"]),
        )
    console = Console()
    console.print(table)
    console.print(f"everything is in {from_here(folder)}")
