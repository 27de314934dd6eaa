"""Measurements on a GPU: equality with the CPU, CUDA graph, rates, time to 99% on MNIST, memory, DDP, stacked networks.

Every step of the measurement has a time limit. A failed step is recorded and does not stop the others.
"""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.benchmark.gpu import equality, graph, mnist, rates
from lenet_pl.benchmark.gpu.amount import FULL, SHORT, SMALL
from lenet_pl.benchmark.gpu.ddp import measure_ddp
from lenet_pl.benchmark.gpu.memory import measure_memory
from lenet_pl.benchmark.gpu.seeds import measure_seeds
from lenet_pl.benchmark.gpu.steps import Bench, OutOfTime, failure, time_limit
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.errors import SettingError
from lenet_pl.runtime.environment import describe_environment
from lenet_pl.settings.benchmark import BenchmarkSettings

# The most important steps first, each with its fraction of the total time limit
STEPS: dict[str, tuple[float, Callable[[Bench, dict[str, Any]], None]]] = {
    "equality": (0.20, equality.measure),
    "cuda_graph": (0.16, graph.measure),
    "rates": (0.30, rates.measure),
    "mnist_99": (0.22, mnist.measure),
    "memory": (0.03, measure_memory),
    "ddp": (0.03, measure_ddp),
    "seeds": (0.06, measure_seeds),
}
AMOUNTS = {"full": FULL, "short": SHORT, "small": SMALL}
GRACE = 15  # seconds for the process of a step to start and exit, in addition to its time limit


def measure_gpu(
    settings: BenchmarkSettings, folder: Path, data: str, save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Take all steps of `settings.gpu_steps`.

    Args:
        settings: The settings of the benchmark.
        folder: An existing folder for temporary files.
        data: The choice of the config group `data`.
        save: A function that receives the results so far after each step.

    Returns:
        The results of each step, with its time in `seconds`, and `failed` and `traceback` if it did not complete; or
        the reason why nothing was measured.

    Raises:
        SettingError: If `gpu_device` is cuda and torch finds no GPU.
    """
    there = torch.cuda.is_available()
    if settings.gpu_device == "cuda" and not there:
        raise SettingError("gpu_device: got cuda, but torch finds no GPU; must be auto or cpu")
    if settings.gpu_device == "auto" and not there:
        return {"not_measured": "no GPU here"}
    device = torch.device("cpu" if settings.gpu_device == "cpu" else "cuda:0")
    bench = Bench(settings, folder, data, device, AMOUNTS[settings.gpu_amount])
    found: dict[str, Any] = {"amount": settings.gpu_amount, "data": data, "cuda": torch.version.cuda}
    begin = time.perf_counter()
    shares = sum(STEPS[name][0] for name in settings.gpu_steps)
    for name in settings.gpu_steps:
        # Some errors make the GPU unusable for the rest of a process
        take = take_step_alone if device.type == "cuda" else take_step
        found[name] = take(name, bench, STEPS[name][0] / shares * settings.gpu_limit)
        found.setdefault("device", found[name].get("device"))
        found["seconds"] = round(time.perf_counter() - begin, 1)
        save(found)
    return found


def take_step_alone(name: str, bench: Bench, limit: float) -> dict[str, Any]:
    """Take one step in a separate process, so that its errors and GPU memory end with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(name, bench, limit, there))
    process.start()
    there.close()
    record: dict[str, Any] = {"failed": "did not stop at its time limit"}
    try:
        if here.poll(limit + GRACE):
            record = here.recv()
    except EOFError:
        process.join()
        record = {"failed": f"its process exited with code {process.exitcode}"}
    process.join(GRACE)
    process.kill()
    return record


def _answer(name: str, bench: Bench, limit: float, answer: Connection) -> None:
    silence_lightning_logs()
    answer.send(take_step(name, bench, limit))


def take_step(name: str, bench: Bench, limit: float) -> dict[str, Any]:
    """Take one step in this process, and keep its partial results if it fails or exceeds its time limit."""
    log_progress(f"gpu: {name}, at most {limit:.0f} s")
    record: dict[str, Any] = {}
    begin = time.perf_counter()
    try:
        with time_limit(limit):
            record["device"] = describe_environment(bench.device)["device"]
            STEPS[name][1](bench, record)
            bench.synchronize()
    except (Exception, OutOfTime) as error:
        record |= failure(error)
    record["seconds"] = round(time.perf_counter() - begin, 1)
    log_progress(f"gpu: {name} took {record['seconds']} s")
    return record
