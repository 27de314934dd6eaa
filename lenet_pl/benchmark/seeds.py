"""Whether one step of several networks at once is faster than their steps one after another."""

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from lenet_pl.benchmark.compare_loops import say, spread, train_settings
from lenet_pl.build import build_datamodule
from lenet_pl.memory import keep_freed_memory
from lenet_pl.seeds.choice import build_steps
from lenet_pl.settings.benchmark import BenchmarkSettings


def measure_seeds(settings: BenchmarkSettings, data: str) -> list[dict[str, Any]]:
    """Train LeNet-5s that differ in nothing but the seed, both ways in turn.

    Args:
        settings: of the benchmark.
        data: choice of the group `data`; its images are not used, only their number and kind.

    Returns:
        One row for each number of networks and batch size: images per second over all networks, both ways, as medians
        over the rounds, and the median, smallest and largest ratio of the rounds, above 1 where at once is faster.
    """
    keep_freed_memory()
    rows: list[dict[str, Any]] = []
    for networks, size in itertools.product(settings.networks, settings.seed_batches):
        say(f"{networks} networks at once, batch {size}")
        given = train_settings(settings, data, batch_size=size)
        steps = build_steps(given, build_datamodule(given), networks, torch.device("cpu"), sample=networks)
        for step in steps:
            step()
        images = networks * size
        rates = [[images * _steps_per_second(step, settings.seconds) for step in steps] for _ in range(settings.rounds)]
        ratios = [at_once / one_after_another for one_after_another, at_once in rates]
        one_after_another, at_once = (spread(way) for way in zip(*rates, strict=True))
        rows.append(
            {
                "networks": networks,
                "batch_size": size,
                "one_after_another": one_after_another,
                "at_once": at_once,
                "ratio": round(median(ratios), 3),
                "smallest": round(min(ratios), 3),
                "largest": round(max(ratios), 3),
            }
        )
    return rows


def _steps_per_second(step: Callable[[], None], seconds: float) -> float:
    """Count over about as many seconds; at least one step."""
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - start)
