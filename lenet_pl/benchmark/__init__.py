"""Time lenet_pl next to hand-written training loops: `python -m lenet_pl.benchmark`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lenet_pl.cli.command import remove_empty
from lenet_pl.settings.benchmark import BenchmarkSettings


def benchmark(settings: BenchmarkSettings, folder: Path) -> None:
    """Run the measurements, write the results into the folder, and print the tables.

    Args:
        settings: The validated settings of the benchmark.
        folder: The output folder. It receives benchmark.json, benchmark.md and benchmark.png, which are rewritten after
            each part.

    Raises:
        DataError: If none of the datasets is on this machine, or a repeated row of the leaderboard has another mean.
    """
    try:
        _measure(settings, folder)
    except BaseException:  # including KeyboardInterrupt
        remove_empty(folder)
        raise


def _measure(settings: BenchmarkSettings, folder: Path) -> None:
    import tempfile

    import torch

    from lenet_pl.benchmark import commands, compare_loops, results
    from lenet_pl.benchmark.augmentations import measure_augmentations
    from lenet_pl.benchmark.diagnoses import measure_diagnoses
    from lenet_pl.benchmark.gpu import measure_gpu
    from lenet_pl.benchmark.jobs import measure_jobs
    from lenet_pl.benchmark.repeat_row import check_inside, repeat_row
    from lenet_pl.benchmark.shared_images import measure_shared_images
    from lenet_pl.benchmark.side_by_side import measure_side_by_side
    from lenet_pl.benchmark.start import measure_start
    from lenet_pl.benchmark.step import measure_step
    from lenet_pl.benchmark.steps_per_hook import measure_steps_per_hook
    from lenet_pl.benchmark.time_to_accuracy import time_to_accuracy
    from lenet_pl.benchmark.trials import measure_trials
    from lenet_pl.benchmark.tutorials.measure import measure_tutorials
    from lenet_pl.engine.trainer import silence_lightning_logs
    from lenet_pl.errors import DataError
    from lenet_pl.runtime.environment import describe_environment

    silence_lightning_logs()
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    data = compare_loops.first_available_dataset(settings, settings.datasets)
    if data is None:
        raise DataError(f"datasets: got {', '.join(settings.datasets)}; must include a dataset that is on this machine")
    machine = compare_loops.describe_machine(settings, data)
    limit = machine["fp32 multiplications, GFLOP/s"] * 1e9
    found: dict[str, Any] = {"data": data, "machine": machine, **describe_environment(torch.device("cpu"))}

    def save_gpu(record: dict[str, Any]) -> None:
        found["gpu"] = record
        results.write_results(folder, found)

    with tempfile.TemporaryDirectory(dir=folder) as place:
        scratch = Path(place)
        work: dict[str, Callable[[], Any]] = {
            "loops": lambda: compare_loops.compare_loops(settings, data, limit),
            "batch_sizes": lambda: compare_loops.compare_batch_sizes(settings, data, limit),
            "augmentations": lambda: measure_augmentations(settings, data),
            "steps_per_hook": lambda: measure_steps_per_hook(settings, data),
            "step": lambda: measure_step(settings, data, machine),
            "trials": lambda: measure_trials(settings),
            "start": lambda: measure_start(settings, scratch),
            "data_sizes": lambda: commands.measure_data_sizes(settings, scratch, data),
            "memory_mapped": lambda: commands.measure_memory_mapped(settings, scratch, data),
            "jobs": lambda: measure_jobs(settings, scratch),
            "side_by_side": lambda: measure_side_by_side(settings, scratch, data),
            "shared_images": lambda: measure_shared_images(settings, scratch, data),
            "mnist_99": lambda: time_to_accuracy(settings),
            "tutorials": lambda: measure_tutorials(settings),
            "leaderboard": lambda: repeat_row(settings, scratch),
            "diagnose": lambda: measure_diagnoses(settings, scratch),
            "gpu": lambda: measure_gpu(settings, scratch, data, save_gpu),
        }
        if "mnist_99" in settings.parts and compare_loops.first_available_dataset(settings, ["mnist"]) is None:
            work["mnist_99"] = lambda: {
                "not_measured": f"no MNIST in {settings.data_root}; set data_root= or LENET_PL_DATA"
            }
        for part in settings.parts:
            found[part] = work[part]()
            results.write_results(folder, found)
    results.print_results(folder)
    if "leaderboard" in found:
        check_inside(found["leaderboard"])
