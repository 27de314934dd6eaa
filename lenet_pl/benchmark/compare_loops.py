"""Interleaved rounds of the loops: tutorial, plain tensors, tuned tensors, and lenet_pl itself."""

import contextlib
import csv
import io
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from lenet_pl.benchmark.loops import Run, plain_loop, tuned_loop, tutorial_loop
from lenet_pl.benchmark.machine import gather_rate, multiply_rate, training_operations
from lenet_pl.build import build_datamodule, build_task
from lenet_pl.command import compose
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.environment import describe_environment
from lenet_pl.errors import DataError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.train import train

TUTORIAL, PLAIN, TUNED, OWN = "tutorial loop", "plain tensor loop", "tuned tensor loop", "lenet_pl"
WARM_UP = 4  # steps of each loop before anything is measured


def compare_loops(settings: BenchmarkSettings) -> dict[str, Any]:
    """Measure every loop for every combination of model, augmentation and batch size.

    Returns:
        Plain JSON values: `machine` (rates and environment) and `rows`, one for each loop of each combination, with
        the median, smallest and largest images per second over the rounds.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    name, data = _first_there(settings)
    machine = {
        "fp32 multiplications, GFLOP/s": multiply_rate(torch.float32) / 1e9,
        "bf16 multiplications, GFLOP/s": multiply_rate(torch.bfloat16) / 1e9,
        "gather, GB/s": gather_rate(data.train_set, 128) / 1e9,
    }
    cases = [(m, a, b) for m in settings.models for a in settings.augments for b in settings.batch_sizes]
    rows: list[dict[str, Any]] = []
    for number, (model, augment, batch_size) in enumerate(cases, 1):
        # A rich progress bar cannot stand around lenet_pl's own
        print(f"{number} of {len(cases)}: {model}, augment={augment}, batch {batch_size}", file=sys.stderr, flush=True)
        rates: dict[str, list[float]] = {}
        for found in _rounds(settings, name, model, augment, batch_size):
            for loop, rate in found.items():
                rates.setdefault(loop, []).append(rate)
        limit = machine["fp32 multiplications, GFLOP/s"] * 1e9 / _operations(settings, name, model)
        for loop, found_rates in rates.items():
            rows.append(
                {
                    "model": model,
                    "augment": augment,
                    "batch_size": batch_size,
                    "loop": loop,
                    "images_per_second": round(median(found_rates), 1),
                    "smallest": round(min(found_rates), 1),
                    "largest": round(max(found_rates), 1),
                    "to_tuned": median(a / b for a, b in zip(found_rates, rates[TUNED], strict=True)),
                    "share_of_machine": median(found_rates) / limit,
                }
            )
    return {"data": name, "machine": machine, "rows": rows, **describe_environment(torch.device("cpu"))}


def _first_there(settings: BenchmarkSettings) -> tuple[str, ImageDataModule]:
    for name in settings.data_sets[:-1]:
        with contextlib.suppress(DataError):
            return name, build_datamodule(_train_settings(settings, name, settings.models[0], "none", 128, 1))
    name = settings.data_sets[-1]
    return name, build_datamodule(_train_settings(settings, name, settings.models[0], "none", 128, 1))


def _train_settings(
    settings: BenchmarkSettings, data: str, model: str, augment: str, batch_size: int, steps: int
) -> TrainSettings:
    overrides = [
        f"data={data}",
        f"data_root={settings.data_root}",
        f"model={model}",
        f"augment={augment}",
        f"loader.batch_size={batch_size}",
        f"trainer.limit_train_batches={steps}",
        "trainer.max_epochs=2",  # the first warms up, the second is measured
        "trainer.accelerator=cpu",
        "test=false",
        *(["data.images=20000"] if data == "fake" else []),
        *([f"trainer.threads={settings.threads}"] if settings.threads else []),
    ]
    return compose("train", TrainSettings, ["run=unused", *overrides])


def _rounds(settings: BenchmarkSettings, data_name: str, model: str, augment: str, batch_size: int) -> Any:
    """Yield, round by round, the images per second of each loop."""
    given = _train_settings(settings, data_name, model, augment, batch_size, 1)
    data = build_datamodule(given)
    kinds = {TUTORIAL: tutorial_loop, PLAIN: plain_loop, TUNED: tuned_loop}
    if not settings.tutorial:
        del kinds[TUTORIAL]
    loops: dict[str, Run] = {}
    counts: dict[str, int] = {}
    for loop, kind in kinds.items():
        network = build_task(given, data).model.to(memory_format=torch.contiguous_format)
        loops[loop] = kind(network.train(), data.train_set, data.to_input, data.augment, batch_size)
        first = WARM_UP * batch_size
        loops[loop](first)
        rate = first / loops[loop](first)
        counts[loop] = max(1, round(rate * settings.seconds / batch_size)) * batch_size
    for _ in range(settings.rounds):
        rates = {loop: counts[loop] / run(counts[loop]) for loop, run in loops.items()}
        rates[OWN] = _own_rate(
            _train_settings(settings, data_name, model, augment, batch_size, counts[TUNED] // batch_size)
        )
        yield rates


def _own_rate(settings: TrainSettings) -> float:
    """Train two epochs with everything on; return images per second of the second, validation left out."""
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        train(settings, Path(place))
        with (Path(place) / "metrics.csv").open() as stream:
            return float(list(csv.DictReader(stream))[-1]["images/s"])


def _operations(settings: BenchmarkSettings, data: str, model: str) -> float:
    given = _train_settings(settings, data, model, "none", 128, 1)
    module = build_datamodule(given)
    return training_operations(build_task(given, module).model, module.example())
