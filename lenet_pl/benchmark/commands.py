"""Memory use of trainings, and large datasets, each training in a process of its own."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from lenet_pl.benchmark.arrays import CHANNELS, SIDE, write_arrays
from lenet_pl.benchmark.compare_loops import log_progress, summarize_rates
from lenet_pl.benchmark.worker import last_rate
from lenet_pl.errors import DataError
from lenet_pl.settings.benchmark import BenchmarkSettings

IMPORTS = "import torch, lightning; from lenet_pl.runtime.memory import peak_memory; print(peak_memory())"
STEPS = 400  # training steps per epoch


def measure_data_sizes(settings: BenchmarkSettings, folder: Path, data: str) -> dict[str, Any]:
    """Measure the training rate and the memory use for datasets of several sizes, held in memory.

    The datasets consist of real images, repeated up to each size.

    Args:
        settings: The settings of the benchmark, with the sizes in `data_series`.
        folder: An existing folder for datasets and runs.
        data: The choice of the config group `data`.

    Returns:
        The memory of a process that only imports, and one row per size with images per second, the size of the pixels,
        and the peak memory above the imports, in MB.
    """
    base = int(subprocess.run([sys.executable, "-c", IMPORTS], check=True, capture_output=True, text=True).stdout)
    for images in settings.data_series:
        log_progress(f"writing {images:,} images")
        write_arrays(settings, folder / f"{images}", images, data)
    rates: dict[int, list[float]] = {images: [] for images in settings.data_series}
    above: dict[int, list[float]] = {images: [] for images in settings.data_series}
    for number in range(settings.rounds):
        log_progress(f"data sizes, round {number + 1} of {settings.rounds}")
        for images in settings.data_series:
            place = folder / f"{images}-{number}"
            run = run_training(place, [*_arrays(folder / f"{images}", True), *_threads(settings)])
            rates[images].append(last_rate(place))
            above[images].append(run["peak_memory_mb"] - base / 1e6)
    return {
        "imports_mb": round(base / 1e6, 1),
        "rows": [
            {
                "images": images,
                **summarize_rates(rates[images]),
                "uint8_mb": round(_bytes(folder / f"{images}") / 1e6, 1),
                "above_imports_mb": round(median(above[images]), 1),
            }
            for images in settings.data_series
        ],
    }


def measure_memory_mapped(settings: BenchmarkSettings, folder: Path, data: str) -> dict[str, Any]:
    """Compare memory-mapped training on a dataset four times as large as memory with training on a small one.

    A Linux control group limits the memory of the process. The small dataset is held in memory, without a limit.

    Args:
        settings: The settings of the benchmark, with the limit in `memory_limit_mb`.
        folder: An existing folder for datasets and runs.
        data: The choice of the config group `data`.

    Returns:
        The limit and the size of the large dataset in MB, both rates, and the median of their ratio; or the reason why
        nothing was measured.
    """
    limit = settings.memory_limit_mb * 1_000_000
    count = 4 * limit // (SIDE * SIDE * CHANNELS)
    try:
        with control_group(limit):
            pass
    except OSError as error:
        return {"not_measured": f"a memory control group cannot be created here ({error.strerror})"}
    for name, images in (("small", 60_000), ("large", count)):
        log_progress(f"writing {images:,} images of {CHANNELS}×{SIDE}×{SIDE}")
        write_arrays(settings, folder / name, images, data, color=True)
    rates: dict[str, list[float]] = {"small": [], "large": []}
    for number in range(settings.rounds):
        log_progress(f"larger than memory, round {number + 1} of {settings.rounds}")
        for name, found in rates.items():
            place = folder / f"{name}-{number}"
            with control_group(limit) if name == "large" else contextlib.nullcontext() as join:
                run_training(place, [*_arrays(folder / name, name == "small"), *_threads(settings)], join)
            found.append(last_rate(place))
    return {
        "limit_mb": settings.memory_limit_mb,
        "set_mb": round(_bytes(folder / "large") / 1e6),
        "in_memory": summarize_rates(rates["small"]),
        "memory_mapped": summarize_rates(rates["large"]),
        "ratio": round(median(a / b for a, b in zip(rates["large"], rates["small"], strict=True)), 3),
    }


@contextlib.contextmanager
def control_group(limit: int) -> Iterator[Callable[[], None]]:
    """Create a Linux control group with a memory limit, and remove it when the block ends.

    Args:
        limit: The memory limit in bytes. The page cache counts.

    Yields:
        A function that moves the calling process into the group.

    Raises:
        OSError: If the system has no control groups, or the user is not permitted to create one.
    """
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()  # version 1 has one tree per resource
    group = (root / "memory" if first else root) / f"lenet_pl-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))

        def join() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

        yield join
    finally:
        for _ in range(50):  # a group can only be removed some time after its last process has ended
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def _arrays(folder: Path, in_memory: bool) -> list[str]:
    few = ["trainer.max_epochs=2", f"trainer.limit_train_batches={STEPS}", "trainer.limit_val_batches=1"]
    place = [f"data.path={folder}", f"data.in_memory={str(in_memory).lower()}", "data.split.val_size=0.05"]
    return ["data=arrays", *place, *few]


def _threads(settings: BenchmarkSettings) -> list[str]:
    return [f"trainer.num_threads={settings.num_threads}"] if settings.num_threads else []


def _bytes(folder: Path) -> int:
    return (folder / "train_images.npy").stat().st_size


def run_training(folder: Path, overrides: list[str], join: Callable[[], None] | None = None) -> dict[str, Any]:
    """Run the training command in a subprocess.

    Args:
        folder: The run folder.
        overrides: The overrides of the command line.
        join: A function that the subprocess calls before it starts the command; None for no function.

    Returns:
        The content of results.json.

    Raises:
        DataError: If the command fails.
    """
    command = [sys.executable, "-m", "lenet_pl.train", f"run={folder}", *overrides, "trainer.accelerator=cpu"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=join)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no output; exit code -9 usually means out of memory"])[-1]
        raise DataError(f"{folder.name}: the measured training exited with code {done.returncode}: {why}")
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results
