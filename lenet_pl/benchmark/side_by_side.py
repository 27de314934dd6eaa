"""Parallel trainings on one machine, with one and with all threads."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.benchmark.during_training import epoch_rates, measure_during_training, training
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
        single training with the same and with spinning threads. What `measure_during_training` returns.
    """
    given = [f"data={data}", f"data_root={settings.data_root}", "test=false", "logger=none"]
    given += ["callbacks=no_early_stopping", "trainer.accelerator=cpu"]
    epochs = f"trainer.max_epochs={EPOCHS}"
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
                    rate = _together(place, count, [*given, epochs, f"model={model}", few, *own], variables)
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
    return {"rows": rows} | measure_during_training(folder, given, settings.rounds)


def _together(folder: Path, count: int, overrides: Sequence[str], variables: dict[str, str]) -> float:
    """Run `count` trainings in parallel, and return their total images per second without the first and last epoch."""
    folders = [folder / str(k) for k in range(count)]
    with contextlib.ExitStack() as stack:
        for place in folders:
            stack.enter_context(training(place, [*overrides, f"seed={place.name}"], variables))
    tables = [epoch_rates(place) for place in folders]
    return sum(median(rate for rate in table[1:-1]) for table in tables)
