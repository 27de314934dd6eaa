"""The rate of a training with the hooks of each step, next to that of the fast path, in interleaved rounds."""

import time
from statistics import median
from typing import Any

from lenet_pl.benchmark.compare_loops import log_progress, summarize_rates, train_settings
from lenet_pl.benchmark.loops import LENET_PL
from lenet_pl.benchmark.worker import Workers, own_rate
from lenet_pl.engine.chunked import STEPS_PER_CHUNK
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings

WAYS = (STEPS_PER_CHUNK, 1)


def measure_steps_per_hook(settings: BenchmarkSettings, data: str) -> list[dict[str, Any]]:
    """Measure each model without augmentation at each batch size, with 20 steps and with 1 step per Lightning step.

    Args:
        settings: The settings of the benchmark.
        data: The choice of the config group `data`.

    Returns:
        One row per model, batch size and way, with the median, smallest and largest images per second over the rounds,
        and the median ratio to the fast path in the same round.
    """
    rows: list[dict[str, Any]] = []
    with Workers(settings.num_threads) as workers:
        for model in settings.models:
            for size in settings.batch_sizes:
                log_progress(f"steps per hook: {model}, batch {size}")
                given = {way: _with_steps(train_settings(settings, data, model, "none", size), way) for way in WAYS}
                first = limited_batches(given[WAYS[0]], settings.seconds, workers)
                given = {way: limit_batches(some, first) for way, some in given.items()}
                rates: dict[int, list[float]] = {way: [] for way in WAYS}
                for _ in range(settings.rounds):
                    for way in WAYS:
                        rates[way].append(workers.do(LENET_PL, own_rate, given[way]))
                rows += [
                    {
                        "model": model,
                        "batch_size": size,
                        "steps_per_hook": way,
                        **summarize_rates(rates[way]),
                        "to_fast_path": median(a / b for a, b in zip(rates[way], rates[WAYS[0]], strict=True)),
                    }
                    for way in WAYS
                ]
    return rows


def limited_batches(given: TrainSettings, seconds: float, workers: Workers) -> int:
    """Return about how many batches take the wanted time, after a short training that warms up the worker."""
    start = time.perf_counter()
    rate: float = workers.do(LENET_PL, own_rate, limit_batches(given, 50))
    log_progress(f"{rate:,.0f} images/s, warmed up in {time.perf_counter() - start:.0f} s")
    return max(1, round(rate * seconds / given.loader.batch_size))


def limit_batches(given: TrainSettings, batches: int) -> TrainSettings:
    """Return the settings of a training with at most so many batches per epoch."""
    return given.model_copy(update={"trainer": given.trainer.model_copy(update={"limit_train_batches": batches})})


def _with_steps(given: TrainSettings, steps: int) -> TrainSettings:
    return given.model_copy(update={"trainer": given.trainer.model_copy(update={"steps_per_hook": steps})})
