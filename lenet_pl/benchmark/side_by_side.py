"""Parallel trainings on one machine, and a command during a training."""

import contextlib
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.errors import DataError
from lenet_pl.runtime.threads import SHORT_WAIT, usable_cores
from lenet_pl.settings.benchmark import BenchmarkSettings

AT_ONCE = (1, 2, 4)  # numbers of parallel trainings
STEPS = 20  # training steps per epoch, for each second of the setting `seconds`
EPOCHS = 8  # the first one warms up, and during the last one other trainings may have ended
SPINNING = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}  # the defaults of the OpenMP libraries


def measure_side_by_side(settings: BenchmarkSettings, folder: Path, data: str) -> dict[str, Any]:
    """Run one, two and four trainings in parallel, with the defaults of lenet_pl and with all cores for each.

    The rounds are interleaved. The throughput of a single training is also that of trainings one after another.

    Args:
        settings: The settings of the benchmark.
        folder: An existing folder for the runs.
        data: The choice of the config group `data`.

    Returns:
        One row per model, thread settings and number of trainings, with the total images per second and the ratios to a
        single training with the same and with spinning threads. The time of `evaluate` in seconds, alone and during a
        training.
    """
    given = [f"data={data}", f"data_root={settings.data_root}", "test=false", "logger=none"]
    given += ["callbacks=no_early_stopping", f"trainer.max_epochs={EPOCHS}", "trainer.accelerator=cpu"]
    ways: dict[str, tuple[list[str], dict[str, str]]] = {
        "default": ([], SHORT_WAIT),
        "all cores, spinning": ([f"trainer.num_threads={usable_cores()}"], SPINNING),
    }
    rates: dict[tuple[str, str, int], list[float]] = {}
    for number in range(settings.rounds):
        for model in settings.models:
            for way, (own, variables) in ways.items():
                for count in AT_ONCE:
                    log_progress(
                        f"side by side, round {number + 1} of {settings.rounds}: {model}, {way}, {count} at once"
                    )
                    place = folder / f"{number}-{model}-{way[:3]}-{count}"
                    few = f"trainer.limit_train_batches={max(20, round(settings.seconds * STEPS))}"
                    rate = _together(place, count, [*given, f"model={model}", few, *own], variables)
                    rates.setdefault((model, way, count), []).append(rate)
    rows = [
        {
            "model": model,
            "way": way,
            "at_once": count,
            "images_per_second": round(median(found), 1),
            "to_one_after_another": round(median(a / b for a, b in zip(found, rates[model, way, 1], strict=True)), 3),
            "to_spinning_alone": round(
                median(a / b for a, b in zip(found, rates[model, "all cores, spinning", 1], strict=True)), 3
            ),
        }
        for (model, way, count), found in rates.items()
    ]
    return {"rows": rows, "evaluate": _evaluate_during_training(folder, given, settings.rounds)}


def _together(folder: Path, count: int, overrides: Sequence[str], variables: dict[str, str]) -> float:
    """Run `count` trainings in parallel, and return their total images per second without the first and last epoch."""
    folders = [folder / str(k) for k in range(count)]
    with contextlib.ExitStack() as stack:
        for place in folders:
            stack.enter_context(training(place, [*overrides, f"seed={place.name}"], variables))
    tables = [_epochs(place) for place in folders]
    return sum(median(rate for rate in table[1:-1]) for table in tables)


@contextlib.contextmanager
def training(folder: Path, overrides: Sequence[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start the training command, and wait for its end when the block is left.

    Args:
        folder: The run folder.
        overrides: The overrides of the command line.
        variables: Environment variables of the process, in addition to the inherited ones.

    Yields:
        The process.

    Raises:
        DataError: If the command fails.
    """
    command = [sys.executable, "-m", "lenet_pl.train", f"run={folder}", "callbacks.progress_bar=false", *overrides]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables}
    )
    try:
        yield process
        _, said = process.communicate()
    finally:
        process.kill()
    if process.returncode:
        raise DataError(f"{folder.name}: the measured training exited with code {process.returncode}: {said}")


def _epochs(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as stream:
        return [float(row["images/s"]) for row in csv.DictReader(stream)]


def _evaluate_during_training(folder: Path, given: Sequence[str], rounds: int) -> dict[str, Any]:
    """Time `evaluate` alternately alone and during a training, and return the median times in seconds."""
    log_progress("side by side: evaluate during a training")
    few = ["trainer.limit_train_batches=20", f"trainer.max_epochs={EPOCHS}"]
    with training(folder / "trained", [*given, *few], SHORT_WAIT):
        pass
    command = [sys.executable, "-m", "lenet_pl.evaluate", f"run={folder / 'trained'}"]
    seconds: dict[str, list[float]] = {"alone": [], "during": []}
    for number in range(rounds):
        seconds["alone"].append(_timed(command))
        place = folder / f"long-{number}"
        with training(place, [*given, "trainer.max_epochs=1000"], SHORT_WAIT) as process:
            while not (place / "metrics.csv").exists() and process.poll() is None:
                time.sleep(0.1)
            seconds["during"].append(_timed(command))
            process.terminate()
            process.wait()
            process.returncode = 0  # the training is stopped on purpose
    return {name: round(median(times), 2) for name, times in seconds.items()}


def _timed(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - start
