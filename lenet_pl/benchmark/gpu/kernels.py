"""Time of each GPU kernel in a training step."""

from typing import Any

import torch

from lenet_pl.benchmark.gpu.loops import graph_loop
from lenet_pl.benchmark.gpu.steps import Bench, switches
from lenet_pl.benchmark.loops import Workload
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_task
from lenet_pl.settings import TrainSettings

KERNELS = 16  # maximum number of listed kernels


def look_into_step(bench: Bench, given: TrainSettings, data: ImageDataModule) -> list[dict[str, Any]]:
    """Profile a step of LeNet-5 in a CUDA graph, for two batch sizes and both memory formats.

    Args:
        bench: The parameters of the step.
        given: The settings of the training.
        data: The data of the training.

    Returns:
        One record per case with the time of a step and of its kernels in µs, and the slowest kernels.
    """
    return [
        _look(bench, given, data, size, channels_last)
        for size in (given.loader.batch_size, 4 * given.loader.batch_size)
        for channels_last in (True, False)
    ]


def _look(bench: Bench, given: TrainSettings, data: ImageDataModule, size: int, channels_last: bool) -> dict[str, Any]:
    many = bench.amount.many
    with switches(fast=True):
        model = build_task(given, data).model.train()
        workload = Workload.from_data(data, size, bench.device)
        run = graph_loop(model, workload, steps=many, channels_last=channels_last)
        wall = min(run(many * size) for _ in range(5)) / many
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run(many * size)
    events = [event for event in profile.key_averages() if event.self_device_time_total > 0]
    events.sort(key=lambda event: -event.self_device_time_total)
    rows = [
        {"kernel": e.key[:100], "per_step": round(e.count / many, 2), "us": round(e.self_device_time_total / many, 2)}
        for e in events
    ]
    return {
        "batch_size": size,
        "channels_last": channels_last,
        "wall_us": round(1e6 * wall, 1),
        "kernel_us": round(sum(row["us"] for row in rows), 1),
        "kernels": round(sum(row["per_step"] for row in rows), 1),
        "rows": rows[:KERNELS],
    }
