"""Time of whole commands on the digits, each next to the imports that it cannot do without."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from lenet_pl.benchmark.commands import run_training
from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import DataError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose

TORCH, LIGHTNING = "import torch", "import torch, lightning"
TRAIN, FIRST_STEP = "train", "train, to its first step"


def measure_start(settings: BenchmarkSettings, folder: Path) -> dict[str, Any]:
    """Time commands and the imports of libraries alone, alternately.

    A training of the digits with the default settings is compared with `import torch, lightning` and its own
    `training_seconds` together, its first step with these imports alone, and `evaluate` of the digits and `predict` of
    one image with `import torch`.

    Args:
        settings: The settings of the benchmark, with the number of `rounds`.
        folder: An existing folder for the runs.

    Returns:
        One row per command: the median time in seconds and, where it is compared, `over`, what it is compared with, and
        `ratio`, the median over the rounds.

    Raises:
        DataError: If a command fails.
    """
    run = folder / "start"
    run_training(run, [])
    image = folder / "digit.png"
    _write_digit(image)
    of_run = [f"run={run}"]
    work: dict[str, Callable[[], float]] = {
        TORCH: lambda: _seconds("-c", TORCH),
        LIGHTNING: lambda: _seconds("-c", LIGHTNING),
        "train --help": lambda: _command("train", "--help"),
        "evaluate": lambda: _command("evaluate", *of_run),
        "predict": lambda: _command("predict", *of_run, f"images={image}"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*work, FIRST_STEP, TRAIN)}
    own: list[float] = []
    for number in range(settings.rounds):
        log_progress(f"start, round {number + 1} of {settings.rounds}")
        for name, take in work.items():
            seconds[name].append(take())
        begin, moment = time.perf_counter(), time.time()
        results = run_training(folder / f"start{number}", [])
        seconds[TRAIN].append(time.perf_counter() - begin)
        seconds[FIRST_STEP].append(datetime.fromisoformat(results["first_step_time"]).timestamp() - moment)
        own.append(results["training_seconds"])
    training = [a + b for a, b in zip(seconds[LIGHTNING], own, strict=True)]
    references = {
        "evaluate": (TORCH, seconds[TORCH]),
        "predict": (TORCH, seconds[TORCH]),
        FIRST_STEP: (LIGHTNING, seconds[LIGHTNING]),
        TRAIN: (f"{LIGHTNING} and {median(own):.1f} s of training", training),
    }
    return {"rows": [_row(name, found, *references.get(name, ("", []))) for name, found in seconds.items()]}


def _row(name: str, seconds: list[float], over: str, reference: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"command": name, "seconds": round(median(seconds), 2)}
    if reference:
        ratio = median(a / b for a, b in zip(seconds, reference, strict=True))
        row |= {"over": over, "ratio": round(ratio, 2)}
    return row


def _command(name: str, *arguments: str) -> float:
    return _seconds("-m", f"lenet_pl.{name}", *arguments)


def _seconds(*arguments: str) -> float:
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise DataError(f"{' '.join(arguments)}: the measured command exited with code {done.returncode}: {why}")
    return time.perf_counter() - start


def _write_digit(path: Path) -> None:
    module = build_datamodule(compose("train", TrainSettings, ["run=unused"]))
    Image.fromarray(module.test_set[slice(0, 1)].images[0, 0].numpy()).save(path)
