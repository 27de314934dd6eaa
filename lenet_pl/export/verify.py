"""Verification and throughput of exported files."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from lenet_pl.display.console import Console
from lenet_pl.errors import display_path
from lenet_pl.export.formats import Predict

BLOCK = 1000  # images per forward pass
WARM_UP = 3  # calls


def verify_logits(predict: Predict, images: Tensor, expected: Tensor) -> dict[str, Any]:
    """Compare the logits of an exported file with those of the checkpoint.

    Args:
        predict: The exported network.
        images: The images, uint8 (N, C, side, side).
        expected: The logits of the checkpoint, float (N, K).

    Returns:
        `images` (N), `same_class` (the number of images with the same predicted class) and `largest_difference` (of a
        logit; the largest float if one is NaN).
    """
    logits = torch.cat([predict(block) for block in torch.split(images, BLOCK)])
    difference = (logits - expected).abs().nan_to_num(nan=torch.finfo(logits.dtype).max)
    return {
        "images": len(images),
        "same_class": int((logits.argmax(1) == expected.argmax(1)).sum()),
        "largest_difference": float(difference.max()),
    }


def measure_throughput(
    predicts: Mapping[str, Predict], images: Tensor, batch_sizes: Sequence[int], rounds: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Measure images per second. The networks take turns, so that other load on the machine affects all alike.

    Args:
        predicts: The networks by name.
        images: The images, uint8 (N, C, side, side), repeated to fill a batch.
        batch_sizes: The numbers of images per call.
        rounds: The number of turns of each network.
        seconds: The duration of a turn, s.

    Returns:
        The median over the rounds in images/s, by name and batch size (as a string).
    """
    found: dict[str, dict[str, float]] = {name: {} for name in predicts}
    for size in batch_sizes:
        batch = images[torch.arange(size) % len(images)]
        calls = {name: calibrate_calls(seconds, predict, batch) for name, predict in predicts.items()}
        turns = [{n: calls[n] / _seconds(p, batch, calls[n]) for n, p in predicts.items()} for _ in range(rounds)]
        for name in predicts:
            found[name][str(size)] = round(size * median(turn[name] for turn in turns), 1)
    return found


def calibrate_calls(seconds: float, predict: Predict, batch: Tensor) -> int:
    """Estimate, after a warm-up, the number of calls that take `seconds`."""
    _seconds(predict, batch, WARM_UP)
    return max(1, round(seconds * WARM_UP / _seconds(predict, batch, WARM_UP)))


def _seconds(predict: Predict, batch: Tensor, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        predict(batch)
    return time.perf_counter() - start


def print_export(results: dict[str, Any], folder: Path) -> None:
    """Print a table with one row for the checkpoint and one for each file."""
    sizes = list(results["checkpoint_images_per_second"])
    table = Table(title=results["name"], caption="images per second at each batch size, medians over the repeats")
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
    console.print(f"everything is in {display_path(folder)}")
