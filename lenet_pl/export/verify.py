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
MAX_CHECKED = {"page": 100}  # images with which a format is compared; JavaScript is slow, so it is not timed either


def predict_blocks(predict: Predict, images: Tensor) -> Tensor:
    """Compute the logits of any number of images, float (N, K)."""
    return torch.cat([predict(block) for block in torch.split(images, BLOCK)])


def verify_logits(predict: Predict, images: Tensor, expected: Tensor) -> dict[str, Any]:
    """Compare the logits of an exported file with those of the checkpoint, or of the file it was made from.

    Args:
        predict: The exported network.
        images: The images, uint8 (N, C, side, side).
        expected: The logits it should have, float (N, K).

    Returns:
        `images` (N), `same_class` (the number of images with the same predicted class) and `largest_difference` (of a
        logit; the largest float if one is NaN).
    """
    logits = predict_blocks(predict, images)
    difference = (logits - expected).abs().nan_to_num(nan=torch.finfo(logits.dtype).max)
    return {
        "images": len(images),
        "same_class": int((logits.argmax(1) == expected.argmax(1)).sum()),
        "largest_difference": float(difference.max()),
    }


def verify_files(
    predicts: Mapping[str, Predict], images: Tensor, expected: Mapping[str, Tensor]
) -> dict[str, dict[str, Any]]:
    """Compare each file with the logits that it should have, by format; see `verify_logits`."""
    counts = {name: MAX_CHECKED.get(name) for name in predicts}
    return {
        name: verify_logits(predict, images[: counts[name]], expected[name][: counts[name]])
        for name, predict in predicts.items()
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
        The median over the rounds in images/s, by name and batch size (as a string). The page is left out.
    """
    predicts = {name: predict for name, predict in predicts.items() if name not in MAX_CHECKED}
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


def find_fault(row: dict[str, Any], atol: float, max_accuracy_drop: float) -> str | None:
    """Describe what is wrong with a file, or return None.

    Args:
        row: The file's entry in export.json.
        atol: The largest difference of a logit for a float file.
        max_accuracy_drop: The largest loss of validation accuracy for the 8-bit and the C file.
    """
    if row["format"] in ("int8", "c"):
        before, after = row["checkpoint_validation_accuracy"], row["validation_accuracy"]
        if after is not None and before - after > max_accuracy_drop:
            return (
                f"validation accuracy is {after:.4f}, and {before:.4f} before the quantization; must lose at most "
                f"int8.max_accuracy_drop={max_accuracy_drop}: try int8.calibration=percentile, or more int8.num_images"
            )
    check = row["check"]
    if check is None or row["format"] == "int8":
        return None
    same = f"{check['same_class']:,} of {check['images']:,} images get the class of"
    if row["format"] == "c":
        if check["same_class"] == check["images"]:
            return None
        why = "must be all images (onnxruntime's own sums saturate on x86 without VNNI; try int8.reduce_range=true)"
        return f"{same} the 8-bit ONNX network; {why}"
    if check["same_class"] < check["images"] or check["largest_difference"] > atol:
        return (
            f"{same} the checkpoint, and logits differ by up to {check['largest_difference']:.1e}; must be all images, "
            f"and at most atol={atol:.1e}"
        )
    return None


def describe_facts(row: dict[str, Any]) -> str | None:
    """Describe accuracy, RAM and flash, or size in one line; None for other formats."""
    if row["format"] == "int8":
        before, after = row["checkpoint_validation_accuracy"], row["validation_accuracy"]
        judged = f"accuracy {after:.4f} on {row['validation_images']:,} validation images, {before:.4f} before"
        return f"{row['file']}: {judged if after is not None else 'accuracy unknown without validation images'}"
    if row["format"] == "page":
        judged = "its script was checked in Node.js" if row["check"] else "not checked, for want of Node.js"
        return f"{row['file']}: {row['bytes']:,} bytes, opens in a browser without a network; {judged}"
    if row["format"] == "c":
        size = f"RAM {row['ram_bytes']:,} bytes, constants in flash {row['constant_bytes']:,} bytes"
        compiled = f"; {row['object_file']}" if row["object_file"] else ""
        return f"{row['file']}: {size}{compiled}{'' if row['check'] else '; not checked, for want of a C compiler'}"
    return None


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
        cells = ["", "", *("" for _ in sizes)]
        if check:
            same, images = check["same_class"], check["images"]
            cells = [f"{'all' if same == images else f'{same:,} of'} {images:,}", f"{check['largest_difference']:.1e}"]
            cells += speed(row["images_per_second"]) if row["images_per_second"] else ["" for _ in sizes]
        table.add_row(row["file"], f"{row['bytes'] / 1e6:.2f}", *cells)
    console = Console()
    console.print(table)
    for line in filter(None, map(describe_facts, results["files"])):
        console.print(line)
    console.print(f"everything is in {display_path(folder)}")
