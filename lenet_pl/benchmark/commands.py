"""What whole commands take, each in a process of its own: start, memory, large data sets."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lenet_pl.benchmark.compare_loops import log_progress, summarize_rates
from lenet_pl.benchmark.worker import last_rate
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import DataError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose

IMPORTS = "import torch, lightning; from lenet_pl.runtime.memory import peak_memory; print(peak_memory())"
CHUNK = 10_000  # images that are written at once
SIDE, CHANNELS = 32, 3  # of the set that is larger than the memory
STEPS = 400  # per epoch


def measure_start(settings: BenchmarkSettings, folder: Path) -> dict[str, Any]:
    """Time `import torch, lightning` and a command up to its first training step, in turn.

    Returns:
        Medians in s, and the median ratio of the rounds.
    """
    imports, starts = [], []
    for number in range(settings.rounds):
        log_progress(f"start, round {number + 1} of {settings.rounds}")
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch, lightning"], check=True, stderr=subprocess.PIPE)
        imports.append(time.perf_counter() - begin)
        moment = time.time()
        run = run_training(
            folder / f"start{number}", ["data=fake", "trainer.limit_train_batches=1", "trainer.max_epochs=1"]
        )
        starts.append(datetime.fromisoformat(run["first_step_time"]).timestamp() - moment)
    return {
        "imports_seconds": round(median(imports), 2),
        "first_step_seconds": round(median(starts), 2),
        "ratio": round(median(a / b for a, b in zip(starts, imports, strict=True)), 3),
    }


def measure_data_sizes(settings: BenchmarkSettings, folder: Path, data: str) -> dict[str, Any]:
    """Train on real images, repeated to the sizes asked for and held in memory; rates, and memory above the imports."""
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
    """Train on a set four times as large as the memory that the process may use, next to a small one in memory.

    Returns:
        The limit, the size of the set, and rates; or why it could not be measured.
    """
    limit = settings.memory_limit_mb * 1_000_000
    count = 4 * limit // (SIDE * SIDE * CHANNELS)
    try:
        with control_group(limit):
            pass
    except OSError as error:
        return {"not_measured": f"no memory control group can be made here ({error.strerror})"}
    for name, images in (("small", 60_000), ("large", count)):
        log_progress(f"writing {images:,} images of {CHANNELS}×{SIDE}×{SIDE}")
        write_arrays(settings, folder / name, images, data, color=True)
    rates: dict[str, list[float]] = {"small": [], "large": []}
    for number in range(settings.rounds):
        log_progress(f"larger than the memory, round {number + 1} of {settings.rounds}")
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
    """Make a Linux control group with a limit on memory, page cache included; gives a function that joins it.

    Raises:
        OSError: there are no such groups, or they may not be made.
    """
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()  # version 1 has a tree for each resource
    group = (root / "memory" if first else root) / f"lenet_pl-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(limit))

        def join() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

        yield join
    finally:
        for _ in range(50):  # a group can be removed a moment after its last process has gone
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def write_arrays(settings: BenchmarkSettings, folder: Path, images: int, data: str, *, color: bool = False) -> None:
    """Write real images, repeated to the number asked for, as `data=arrays` reads them; none stays in memory."""
    overrides = [f"data={data}", f"data_root={settings.data_root}"]
    module = build_datamodule(compose("train", TrainSettings, ["run=unused", *overrides]))
    folder.mkdir(parents=True)
    for part, given, count in (("train", module.train_set, images), ("test", module.test_set, 1000)):
        some = given[slice(0, CHUNK)]
        pixels, labels = some.images[:, 0].numpy(), some.labels.numpy()
        if color:
            edge = (SIDE - pixels.shape[1]) // 2
            pixels = np.pad(pixels, ((0, 0), (edge, edge), (edge, edge)))[..., None].repeat(CHANNELS, 3)
        whole = np.lib.format.open_memmap(
            folder / f"{part}_images.npy", "w+", dtype=np.uint8, shape=(count, *pixels.shape[1:])
        )
        for start in range(0, count, len(pixels)):
            whole[start : start + len(pixels)] = pixels[: count - start]
        whole.flush()
        np.save(folder / f"{part}_labels.npy", np.resize(labels, count))
        with (folder / f"{part}_images.npy").open("rb") as stream:
            os.fsync(stream.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _arrays(folder: Path, in_memory: bool) -> list[str]:
    few = ["trainer.max_epochs=2", f"trainer.limit_train_batches={STEPS}", "trainer.limit_val_batches=1"]
    place = [f"data.path={folder}", f"data.in_memory={str(in_memory).lower()}", "data.split.val_size=0.05"]
    return ["data=arrays", *place, *few]


def _threads(settings: BenchmarkSettings) -> list[str]:
    return [f"trainer.num_threads={settings.num_threads}"] if settings.num_threads else []


def _bytes(folder: Path) -> int:
    return (folder / "train_images.npy").stat().st_size


def run_training(folder: Path, overrides: list[str], join: Callable[[], None] | None = None) -> dict[str, Any]:
    """Run the command to its end; return what results.json holds."""
    command = [sys.executable, "-m", "lenet_pl.train", f"run={folder}", *overrides, "trainer.accelerator=cpu"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=join)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it printed nothing; -9 is what a lack of memory leads to"])[-1]
        raise DataError(f"{folder.name}: the training that was to be measured ended with {done.returncode}: {why}")
    results: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return results
