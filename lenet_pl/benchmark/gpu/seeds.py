"""Rate of several networks with different seeds, trained by one stacked step, compared to a single network."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import optim
from torch.nn import functional

from lenet_pl.benchmark.gpu.capture import capture
from lenet_pl.benchmark.gpu.rates import timed
from lenet_pl.benchmark.gpu.stacked import StackedNetworks
from lenet_pl.benchmark.gpu.steps import NO_GRAPH, Bench, attempt, switches
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.settings import TrainSettings

LEAST, MOST = 3, 400  # limits of the number of timed steps


def measure_seeds(bench: Bench, record: dict[str, Any]) -> None:
    """Measure the rates of a single LeNet-5 and of several stacked ones, step by step and in a CUDA graph."""
    record["rows"] = rows = []
    given = bench.given("model=lenet5", f"loader.batch_size={bench.amount.batches[0]}")
    data = build_datamodule(given)
    size = given.loader.batch_size
    with switches(fast=True):
        for networks in bench.amount.networks:
            row: dict[str, Any] = {"networks": networks, "batch_size": size}
            rows.append(row)
            alone, at_once = _steps(given, data, networks, bench.device)
            row["alone"] = _rate(alone, size, bench)
            row["at_once"] = _rate(at_once, networks * size, bench)
            if bench.device.type == "cuda":
                make = partial(_stacked_graph, bench, networks, size)
                attempt(row, "graph", partial(_rate_of, make, networks * size, bench))
            else:
                row["graph"] = {"not_measured": NO_GRAPH}


def _stacked_graph(bench: Bench, networks: int, size: int) -> Callable[[], None]:
    """Capture one step of all networks, with a common optimizer."""
    given = bench.given("model=lenet5", f"loader.batch_size={size}")
    data = build_datamodule(given)
    models = [build_task(given, data).model.to(bench.device).train() for _ in range(networks)]
    stack = StackedNetworks(models)
    shape = (size, *data.example_input().shape[1:])
    images = [torch.rand(shape, device=bench.device) for _ in range(networks)]
    labels = [torch.randint(len(data.classes), (size,), device=bench.device) for _ in range(networks)]
    capturable = bench.device.type == "cuda"
    optimizer = optim.Adam(list(stack.weights.values()), 1e-3, fused=True, capturable=capturable)

    def step() -> None:
        stack.backward(images, labels)
        optimizer.step()

    return capture(step, step, bench.device)


def _rate_of(make: Callable[[], Callable[[], None]], images: int, bench: Bench) -> float:
    return _rate(make(), images, bench)


def _rate(step: Callable[[], object], images: int, bench: Bench) -> float:
    """Measure images per second over about `bench.amount.seconds`."""
    trial = timed(lambda: [step() for _ in range(LEAST)], bench) / LEAST
    trial = timed(lambda: [step() for _ in range(LEAST)], bench) / LEAST
    steps = min(MOST, max(LEAST, round(bench.amount.seconds / trial)))
    return round(images * steps / timed(lambda: [step() for _ in range(steps)], bench), 1)


def _steps(
    settings: TrainSettings, data: ImageDataModule, networks: int, device: torch.device
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return two functions: a step of a single network, and a step of all networks."""
    task = build_task(settings, data).to(device).train()
    size = (min(settings.loader.batch_size, len(data.train_set)), *data.example_input().shape[1:])
    images = [torch.rand(size, device=device).contiguous(memory_format=torch.channels_last) for _ in range(networks)]
    labels = [torch.randint(len(data.classes), size[:1], device=device) for _ in range(networks)]
    copies = [copy.deepcopy(task.model) for _ in range(networks)]
    stack = StackedNetworks(copies)
    alone = copy.deepcopy(task.model)
    optimizers = [build_optimizer(settings.optimizer, model.parameters()) for model in (alone, *copies)]

    def one() -> None:
        optimizers[0].zero_grad()
        functional.cross_entropy(alone(images[0]), labels[0]).backward()  # type: ignore[no-untyped-call]
        optimizers[0].step()

    def at_once() -> None:
        stack.backward(images, labels)
        for optimizer in optimizers[1:]:
            optimizer.step()

    return one, at_once
