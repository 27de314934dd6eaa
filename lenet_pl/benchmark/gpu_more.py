"""Memory, one process of several, and several networks at once, on a GPU."""

import datetime
import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn, optim
from torch._C._distributed_c10d import FileStore
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from lenet_pl.benchmark.gpu_loops import capture
from lenet_pl.benchmark.gpu_rates import MANY as GRAPH
from lenet_pl.benchmark.gpu_rates import loops, own_loop, timed
from lenet_pl.benchmark.gpu_steps import NO_GRAPH, Bench, attempt, switches
from lenet_pl.benchmark.loops import OWN, TUNED
from lenet_pl.build import build_datamodule, build_task
from lenet_pl.seeds.choice import build_steps
from lenet_pl.seeds.stacked import StackedNetworks

LEAST, MOST = 3, 400  # steps that are timed


def measure_memory(bench: Bench, record: dict[str, Any]) -> None:
    """Measure the peak of allocated memory of a small and a large batch, and what was allocated before."""
    record["rows"] = rows = []
    if bench.device.type != "cuda":
        record["not_measured"] = "torch counts the memory of GPUs only"
        return
    for size in sorted({bench.amount.batches[0], bench.amount.batches[-1]}):
        given = bench.given("model=lenet5", f"loader.batch_size={size}", "trainer.deterministic=false")
        data = build_datamodule(given)
        made = loops(bench, given, data, compiled=False)
        for name in (TUNED, GRAPH, OWN):
            gc.collect()
            torch._C._cuda_clearCublasWorkspaces()  # 34 MB for each stream that multiplied, of whatever loop
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            run = made[name]() if name != OWN else own_loop(bench, given, data)
            run(bench.amount.many * size)
            peak = torch.cuda.max_memory_allocated()
            reserved = torch.cuda.max_memory_reserved()
            bytes_of = {"before": before, "peak": peak, "reserved": reserved, "set": data.train_set.images.numel()}
            mb = {f"{what}_mb": round(count / 1e6, 1) for what, count in bytes_of.items()}
            rows.append({"loop": name, "batch_size": size, **mb})
            del run


def measure_ddp(bench: Bench, record: dict[str, Any]) -> None:
    """Train with torch's DistributedDataParallel in a group of one process, and without."""
    backend = "nccl" if bench.device.type == "cuda" else "gloo"
    store = FileStore(str(bench.folder / "meeting"), 1)
    torch.distributed.init_process_group(
        backend, store=store, rank=0, world_size=1, timeout=datetime.timedelta(seconds=60)
    )
    try:
        record |= {"backend": backend, **_compare_ddp(bench)}
    finally:
        torch.distributed.destroy_process_group()


def _compare_ddp(bench: Bench) -> dict[str, Any]:
    given = bench.given("model=lenet5")
    data = build_datamodule(given)
    model = build_task(given, data).model.to(bench.device).train()
    images = torch.rand(given.loader.batch_size, *data.example().shape[1:], device=bench.device)
    labels = torch.randint(len(data.classes), (len(images),), device=bench.device)
    rates: dict[str, float] = {}
    losses: dict[str, float] = {}
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for name, network in (("without", model), ("ddp", DistributedDataParallel(model))):
        model.load_state_dict(start)
        step = _plain_step(network, images, labels)
        losses[name] = [step() for _ in range(20)][-1].item()
        steps = bench.amount.ddp_steps
        rates[name] = steps * len(images) / timed(lambda step=step, n=steps: [step() for _ in range(n)], bench)  # type: ignore[misc]
    return {
        **{f"images_per_second_{name}": round(rate, 1) for name, rate in rates.items()},
        "ratio": round(rates["ddp"] / rates["without"], 3),
        "loss_after_20_steps": losses,
    }


def _plain_step(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], torch.Tensor]:
    optimizer = optim.Adam(network.parameters(), 1e-3, fused=True)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


def measure_seeds(bench: Bench, record: dict[str, Any]) -> None:
    """Train LeNet-5s that differ in the seed, one and several at once, by lenet_pl's steps and in a CUDA graph."""
    record["rows"] = rows = []
    given = bench.given("model=lenet5", f"loader.batch_size={bench.amount.batches[0]}")
    data = build_datamodule(given)
    size = given.loader.batch_size
    with switches(fast=True):
        for networks in bench.amount.networks:
            row: dict[str, Any] = {"networks": networks, "batch_size": size}
            rows.append(row)
            alone, at_once = build_steps(given, data, networks, bench.device, sample=1)
            row["alone"] = _rate(alone, size, bench)
            row["at_once"] = _rate(at_once, networks * size, bench)
            if bench.device.type == "cuda":
                make = partial(_stacked_graph, bench, networks, size)
                attempt(row, "graph", partial(_rate_of, make, networks * size, bench))
            else:
                row["graph"] = {"not_measured": NO_GRAPH}


def _stacked_graph(bench: Bench, networks: int, size: int) -> Callable[[], None]:
    """Capture one step of all networks, their common optimizer included."""
    given = bench.given("model=lenet5", f"loader.batch_size={size}")
    data = build_datamodule(given)
    models = [build_task(given, data).model.to(bench.device).train() for _ in range(networks)]
    stack = StackedNetworks(models)
    shape = (size, *data.example().shape[1:])
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
    """Measure images per second, of about as many steps as the amount says."""
    trial = timed(lambda: [step() for _ in range(LEAST)], bench) / LEAST
    trial = timed(lambda: [step() for _ in range(LEAST)], bench) / LEAST
    steps = min(MOST, max(LEAST, round(bench.amount.seconds / trial)))
    return round(images * steps / timed(lambda: [step() for _ in range(steps)], bench), 1)
