"""What a GPU gives: equality with the CPU, rates, seconds to 99% on MNIST, memory, processes, networks at once.

One command that surely ends: each step has a time limit, and what fails is written down while the others go on.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lenet_pl.benchmark import gpu_equality, gpu_mnist, gpu_more, gpu_rates
from lenet_pl.benchmark.compare_loops import say
from lenet_pl.benchmark.gpu_steps import FULL, SMALL, Bench, OutOfTime, failure, time_limit
from lenet_pl.environment import describe_environment
from lenet_pl.errors import SettingError
from lenet_pl.settings.benchmark import BenchmarkSettings

# The most valuable first, each with the share of the whole time that it may use
STEPS: dict[str, tuple[float, Callable[[Bench, dict[str, Any]], None]]] = {
    "equality": (0.25, gpu_equality.measure),
    "rates": (0.38, gpu_rates.measure),
    "mnist_99": (0.2, gpu_mnist.measure),
    "memory": (0.05, gpu_more.measure_memory),
    "ddp": (0.05, gpu_more.measure_ddp),
    "seeds": (0.07, gpu_more.measure_seeds),
}


def measure_gpu(
    settings: BenchmarkSettings, folder: Path, data: str, save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Take all steps.

    Args:
        settings: of the benchmark.
        folder: for what is only needed on the way.
        data: choice of the group `data`.
        save: is given what has been measured so far, after each step.

    Returns:
        For each step what it measured, its seconds, and `failed` with `traceback` where something stopped it.

    Raises:
        SettingError: a GPU was asked for, and there is none.
    """
    there = torch.cuda.is_available()
    if settings.gpu_device == "cuda" and not there:
        raise SettingError("gpu_device: got cuda, and torch finds no GPU here; accepted is auto or cpu")
    if settings.gpu_device == "auto" and not there:
        return {"not_measured": "no GPU here"}
    device = torch.device("cpu" if settings.gpu_device == "cpu" else "cuda:0")
    bench = Bench(settings, folder, data, device, FULL if settings.gpu_amount == "full" else SMALL)
    found: dict[str, Any] = {"device": describe_environment(device)["device"], "amount": settings.gpu_amount}
    found |= {"data": data, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    begin = time.perf_counter()
    for name, (share, measure) in STEPS.items():
        found[name] = take_step(name, measure, bench, share * settings.gpu_limit)
        found["seconds"] = round(time.perf_counter() - begin, 1)
        save(found)
    return found


def take_step(
    name: str, measure: Callable[[Bench, dict[str, Any]], None], bench: Bench, limit: float
) -> dict[str, Any]:
    """Take one step; what it had measured when it failed or its time was over stays."""
    say(f"gpu: {name}, at most {limit:.0f} s")
    record: dict[str, Any] = {}
    begin = time.perf_counter()
    try:
        with time_limit(limit):
            measure(bench, record)
            bench.synchronise()
    except (Exception, OutOfTime) as error:
        record |= failure(error)
    record["seconds"] = round(time.perf_counter() - begin, 1)
    say(f"gpu: {name} took {record['seconds']} s")
    return record
