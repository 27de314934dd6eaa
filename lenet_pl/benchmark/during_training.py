"""`evaluate` and `demo` during a training, and the rate of the training while the demo answers."""

import contextlib
import csv
import importlib.util
import io
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.errors import DataError
from lenet_pl.runtime.threads import SHORT_WAIT

EPOCHS = 8  # of the short trainings; the first one warms up
DRAWINGS = 30  # requests to the demo, one after another
PAUSE = 0.3  # seconds between two requests, about as often as the page sends a drawing that is being drawn


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


def epoch_rates(folder: Path) -> list[float]:
    """Read the training images per second of each finished epoch from a run folder."""
    with (folder / "metrics.csv").open() as stream:
        return [float(row["images/s"]) for row in csv.DictReader(stream)]


def measure_during_training(folder: Path, overrides: Sequence[str], rounds: int) -> dict[str, Any]:
    """Time `evaluate` and an answer of the demo, alternately alone and during a training.

    Args:
        folder: An existing folder for the runs.
        overrides: The overrides of the trainings.
        rounds: The number of measurements, whose medians are returned.

    Returns:
        `evaluate`: seconds of the command; `demo`: seconds from a drawing to its answer; each `alone` and `during`.
        `training`: images per second `alone` and `with_demo`, while the demo classifies a drawing every 0.3 s. The
        demo is left out if its packages are not installed.
    """
    trained = folder / "trained"
    with training(trained, [*overrides, "trainer.limit_train_batches=20", f"trainer.max_epochs={EPOCHS}"], SHORT_WAIT):
        pass
    evaluate: dict[str, list[float]] = {"alone": [], "during": []}
    demo: dict[str, list[float]] = {"alone": [], "during": []}
    rates: dict[str, list[float]] = {"alone": [], "with_demo": []}
    with_demo = importlib.util.find_spec("fastapi") is not None
    for number in range(rounds):
        log_progress(f"evaluate and demo during a training, round {number + 1} of {rounds}")
        evaluate["alone"].append(_evaluate(trained))
        if with_demo:
            with _server(trained) as address:
                demo["alone"].append(_answer(address))
        with endless_training(folder / f"long-{number}", overrides) as place:
            evaluate["during"].append(_evaluate(trained))
            if with_demo:
                rates["alone"].append(_rate(place, DRAWINGS * PAUSE))
                with _server(trained) as address:
                    before = len(epoch_rates(place))
                    demo["during"].append(_answer(address))
                rates["with_demo"].append(median(epoch_rates(place)[before + 1 :] or [float("nan")]))
    found = {"evaluate": evaluate} | ({"demo": demo, "training": rates} if with_demo else {})
    return {name: {when: round(median(each), 4) for when, each in times.items()} for name, times in found.items()}


@contextlib.contextmanager
def endless_training(folder: Path, overrides: Sequence[str]) -> Iterator[Path]:
    """Keep a training running, from the end of its first epoch, until the block is left."""
    with training(folder, [*overrides, "trainer.max_epochs=1000000"], SHORT_WAIT) as process:
        while not (folder / "metrics.csv").exists() and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is None:
            yield folder
        if process.poll() is not None:
            raise DataError(f"{folder.name}: the training ended by itself; {process.communicate()[1]}")
        process.terminate()
        process.wait()
        process.returncode = 0  # it is stopped on purpose


def _rate(folder: Path, seconds: float) -> float:
    """Return the median rate of the epochs that a running training finishes in a number of seconds."""
    before = len(epoch_rates(folder))
    time.sleep(seconds)
    return median(epoch_rates(folder)[before + 1 :] or [float("nan")])


def _evaluate(run: Path) -> float:
    start = time.perf_counter()
    command = [sys.executable, "-m", "lenet_pl.evaluate", f"run={run}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - start


@contextlib.contextmanager
def _server(run: Path) -> Iterator[str]:
    """Run the demo on this machine, and return its address."""
    command = [sys.executable, "-m", "lenet_pl.demo", f"run={run}", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("http://"):
                raise DataError(f"demo: the measured command exited with code {process.wait()}")
            yield line.split()[0]
        finally:
            process.send_signal(signal.SIGTERM)


def _answer(address: str) -> float:
    """Send a drawing many times, and return the median time from the request to its answer, in seconds."""
    pixels = np.full((280, 280), 255, np.uint8)
    pixels[40:240, 125:155] = 0  # a one
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    headers = {"content-type": "application/octet-stream"}
    request = urllib.request.Request(f"{address}/runs/0", stream.getvalue(), headers)
    seconds = []
    for _ in range(DRAWINGS):
        start = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as reply:
            reply.read()
        seconds.append(time.perf_counter() - start)
        time.sleep(PAUSE)
    return median(seconds)
