"""Comparison of the training loops in interleaved rounds: tutorial, plain tensors, tuned tensors, and lenet_pl."""

import contextlib
import itertools
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from lenet_pl.benchmark.loops import LENET_PL, PLAIN, TUNED, TUTORIAL
from lenet_pl.benchmark.machine import gather_rate, multiply_rate
from lenet_pl.benchmark.worker import Workers, own_rate, prepare, rate
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.errors import DataError
from lenet_pl.runtime.threads import training_operations
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose


def describe_machine(settings: BenchmarkSettings, data: str) -> dict[str, float]:
    """Measure the peak rates of the machine: matrix multiplication and gathering of batches."""
    images = build_datamodule(train_settings(settings, data)).train_set
    return {
        "fp32 multiplications, GFLOP/s": multiply_rate(torch.float32) / 1e9,
        "bf16 multiplications, GFLOP/s": multiply_rate(torch.bfloat16) / 1e9,
        "gather, GB/s": gather_rate(images, 128) / 1e9,
    }


def compare_loops(settings: BenchmarkSettings, data: str, limit: float) -> list[dict[str, Any]]:
    """Measure every loop for every combination of model, augmentation and batch size.

    Args:
        settings: The settings of the benchmark.
        data: The choice of the config group `data`.
        limit: The peak rate of the machine in floating-point operations per second.

    Returns:
        One row per loop and combination, with the median, smallest and largest images per second over the rounds, the
        median ratios to the tuned and to the tutorial loop of the same round, the additional time per step over the
        tuned loop in ms, and the fraction of `limit`.
    """
    loops = [*([TUTORIAL] if settings.tutorial else []), PLAIN, TUNED, LENET_PL]
    cases = itertools.product(settings.models, settings.augments, settings.batch_sizes)
    return _measure(settings, data, limit, list(cases), loops)


def compare_batch_sizes(settings: BenchmarkSettings, data: str, limit: float) -> list[dict[str, Any]]:
    """Measure the tuned loop and lenet_pl on the first model, for each batch size of `batch_series`."""
    cases = [(settings.models[0], "none", size) for size in settings.batch_series]
    return _measure(settings, data, limit, cases, [TUNED, LENET_PL])


def _measure(
    settings: BenchmarkSettings, data: str, limit: float, cases: list[tuple[str, str, int]], loops: Sequence[str]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with Workers(settings.num_threads) as workers:
        for number, (model, augment, batch_size) in enumerate(cases, 1):
            # Plain lines, because rich cannot nest a progress bar around the one of lenet_pl
            log_progress(f"{number} of {len(cases)}: {model}, augment={augment}, batch {batch_size}")
            given = train_settings(settings, data, model, augment, batch_size)
            rates = _rounds(workers, settings, given, loops)
            most = limit / _operations(given)
            rows += [
                {
                    "model": model,
                    "augment": augment,
                    "batch_size": batch_size,
                    "loop": loop,
                    **summarize_rates(rates[loop]),
                    "to_tuned": _ratio(rates, loop, TUNED),
                    "over_tuned_ms": 1000 * batch_size * (1 / median(rates[loop]) - 1 / median(rates[TUNED])),
                    "to_tutorial": _ratio(rates, loop, TUTORIAL),
                    "share_of_machine": median(rates[loop]) / most,
                }
                for loop in loops
            ]
    return rows


def _rounds(
    workers: Workers, settings: BenchmarkSettings, given: TrainSettings, loops: Sequence[str]
) -> dict[str, list[float]]:
    """Run the loops in interleaved rounds, and return the images per second of each loop and round."""
    size = given.loader.batch_size
    counts: dict[str, int] = {}
    for loop in loops:
        if loop != LENET_PL:
            steps = workers.do(loop, prepare, loop, given) * settings.seconds / size
            counts[loop] = max(1, round(steps)) * size
    # lenet_pl trains a whole epoch, including the work done once per epoch, so its steps are limited by the dataset
    own = given.model_copy(
        update={"trainer": given.trainer.model_copy(update={"limit_train_batches": max(1, counts[TUNED] // size)})}
    )
    rates: dict[str, list[float]] = {loop: [] for loop in loops}
    for _ in range(settings.rounds):
        for loop in loops:
            found = workers.do(loop, own_rate, own) if loop == LENET_PL else workers.do(loop, rate, loop, counts[loop])
            rates[loop].append(found)
    return rates


def _ratio(rates: dict[str, list[float]], loop: str, other: str) -> float | None:
    if other not in rates:
        return None
    return median(a / b for a, b in zip(rates[loop], rates[other], strict=True))


def _operations(settings: TrainSettings) -> float:
    module = build_datamodule(settings)
    return training_operations(build_task(settings, module).model, module.example_input())


def summarize_rates(rates: Sequence[float]) -> dict[str, float]:
    """Summarize the images per second of several rounds by median, minimum and maximum."""
    return {
        "images_per_second": round(median(rates), 1),
        "smallest": round(min(rates), 1),
        "largest": round(max(rates), 1),
    }


def first_available_dataset(settings: BenchmarkSettings, choices: Sequence[str]) -> str | None:
    """Return the name of the first dataset that can be loaded, or None if none of them can."""
    for name in choices:
        with contextlib.suppress(DataError):
            build_datamodule(train_settings(settings, name))
            return name
    return None


def train_settings(
    settings: BenchmarkSettings, data: str, model: str = "lenet5", augment: str = "none", batch_size: int = 128
) -> TrainSettings:
    """Compose the settings of a training with two epochs: one to warm up, and one to measure."""
    overrides = [
        f"data={data}",
        f"data_root={settings.data_root}",
        f"model={model}",
        f"augment={augment}",
        f"loader.batch_size={batch_size}",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        "test=false",
        *(["data.num_images=20000"] if data == "fake" else ["data.download=false"] if data != "digits" else []),
        f"trainer.num_threads={settings.num_threads or torch.get_num_threads()}",  # same as in the other loops
    ]
    return compose("train", TrainSettings, ["run=unused", *overrides])


def log_progress(line: str) -> None:
    """Print a line of progress to stderr."""
    print(line, file=sys.stderr, flush=True)
