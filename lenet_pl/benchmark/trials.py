"""Other ways to compute LeNet-5 on a CPU, next to those that lenet_pl uses, in interleaved rounds."""

import copy
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.engine.device import choose_precision
from lenet_pl.models import lenet5
from lenet_pl.runtime.memory import tune_malloc
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose

STAGE, NETWORK = "first stage", "LeNet-5"  # conv1, pooling and activation; the whole network
Function = Callable[[Tensor], Tensor]


def measure_trials(settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Measure forward and backward pass of the first stage of LeNet-5, and of the whole network, in several ways.

    Args:
        settings: The settings of the benchmark: `batch_sizes`, `rounds` and `seconds` for each way and round.

    Returns:
        One row per batch size and way: `of`, what is computed, `way`, `us` (median over the rounds) and `relative`, the
        median of the ratios to the first way, which lenet_pl uses.
    """
    tune_malloc()
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    given = compose("train", TrainSettings, ["run=unused", "trainer.accelerator=cpu"])
    mixed = choose_precision(given.trainer) == "bf16-mixed"
    rows: list[dict[str, Any]] = []
    for size in settings.batch_sizes:
        torch.manual_seed(0)
        images = torch.rand(size, 1, 32, 32)
        for of, ways in ((STAGE, first_stages()), (NETWORK, networks())):
            log_progress(f"trials: {of}, batch {size}")
            work = {way: _step(function, images, module, mixed) for way, (function, module) in ways.items()}
            times: dict[str, list[float]] = {way: [] for way in work}
            for _ in range(settings.rounds):
                for way, one in work.items():
                    times[way].append(_seconds(one, settings.seconds))
            usual = next(iter(times.values()))
            rows += [
                {
                    "of": of,
                    "way": way,
                    "batch_size": size,
                    "us": round(1e6 * median(found), 1),
                    "relative": median(a / b for a, b in zip(found, usual, strict=True)),
                }
                for way, found in times.items()
            ]
    return rows


def first_stages() -> dict[str, tuple[Function, nn.Module]]:
    """Return ways to compute the first convolution, pooling and activation, each with the convolution."""
    conv = nn.Conv2d(1, 6, 5).to(memory_format=torch.channels_last)
    plain, same = nn.Conv2d(1, 6, 5), copy.deepcopy(conv)
    plain.load_state_dict(conv.state_dict())

    def usual(images: Tensor) -> Tensor:
        return functional.max_pool2d(conv(images), 2).relu()

    def contiguous(images: Tensor) -> Tensor:
        return functional.max_pool2d(plain(images).contiguous(), 2).relu()

    def unfolded(images: Tensor) -> Tensor:
        products = conv.weight.flatten(1) @ functional.unfold(images, 5) + conv.bias[:, None]  # type: ignore[index]
        return functional.max_pool2d(products.view(-1, 6, 28, 28), 2).relu()

    def strided(images: Tensor) -> Tensor:
        kernels = [functional.pad(conv.weight, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
        maps = functional.conv2d(images, torch.cat(kernels), conv.bias.repeat(4), stride=2)  # type: ignore[union-attr]
        first, second, third, fourth = maps.chunk(4, 1)
        return torch.maximum(torch.maximum(first, second), torch.maximum(third, fourth)).relu()

    def pairs(images: Tensor) -> Tensor:
        maps = conv(images)
        columns = torch.maximum(maps[..., 0::2], maps[..., 1::2])
        return torch.maximum(columns[:, :, 0::2], columns[:, :, 1::2]).relu()

    def fused(images: Tensor) -> Tensor:
        return functional.max_pool2d(same(images), 2).relu()

    return {
        "torch, channels last": (usual, conv),
        "torch, channels first": (contiguous, plain),
        "torch.compile": (_compiled(fused), same),
        "convolution as matrix product of unfolded images": (unfolded, conv),
        "four shifted kernels with stride 2 instead of pooling": (strided, conv),
        "pooling as maximum of slices": (pairs, conv),
    }


def networks() -> dict[str, tuple[Function, nn.Module]]:
    """Return ways to compute LeNet-5, each with the module."""
    last, first = lenet5().to(memory_format=torch.channels_last), lenet5()
    same = copy.deepcopy(last)
    return {
        "torch, channels last": (last, last),
        "torch, channels first": (first, first),
        "torch.compile": (_compiled(same), same),
    }


def _compiled(function: Function) -> Function:
    """Return a function that is compiled at its first call, since the compiler takes seconds to import."""
    compiled: list[Function] = []

    def call(images: Tensor) -> Tensor:
        if not compiled:
            compiled.append(torch.compile(function, dynamic=False))
        return compiled[0](images)

    return call


def _step(function: Function, images: Tensor, module: nn.Module, mixed: bool) -> Callable[[], None]:
    """Return a forward and backward pass, with the gradient of the parameters of a module."""

    def step() -> None:
        for parameter in module.parameters():
            parameter.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            output = function(images)
        output.float().sum().backward()  # type: ignore[no-untyped-call]

    return step


def _seconds(work: Callable[[], None], seconds: float) -> float:
    """Return the median time of some work that is repeated for a while."""
    work()
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def trials_table(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the lines of the table of `measure_trials`, the heading first."""
    lines: list[tuple[str, ...]] = [("of", "way", "batch", "µs forward and backward", "relative")]
    lines += [
        (row["of"], row["way"], str(row["batch_size"]), f"{row['us']:,.0f}", f"{row['relative']:.2f}") for row in rows
    ]
    return lines
