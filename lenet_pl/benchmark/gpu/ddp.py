"""Rate of DistributedDataParallel with world size 1, compared to training without it."""

import datetime
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, optim
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from lenet_pl.benchmark.gpu.rates import timed
from lenet_pl.benchmark.gpu.steps import Bench
from lenet_pl.engine.build import build_datamodule, build_task


def measure_ddp(bench: Bench, record: dict[str, Any]) -> None:
    """Compare rate and loss of a training with and without DistributedDataParallel, at world size 1."""
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
    images = torch.rand(given.loader.batch_size, *data.example_input().shape[1:], device=bench.device)
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
