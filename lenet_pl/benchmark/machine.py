"""What this machine can do at most, in figures that a training rate can be held against."""

import time
from collections.abc import Callable

import torch

from lenet_pl.data.image_set import ImageDataset

SIDE = 1024  # of the matrices that are multiplied


def multiply_rate(dtype: torch.dtype) -> float:
    """Measure matrix multiplication in floating-point operations per second (a multiply-add is two)."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / _best(lambda: a @ b)


def gather_rate(images: ImageDataset, batch_size: int) -> float:
    """Measure how many bytes of random images per second become a batch."""
    index = torch.randperm(len(images))[:batch_size]
    return images[index].images.numel() / _best(lambda: images[index].images)


def _best(work: Callable[[], object], seconds: float = 0.5) -> float:
    """Return the shortest time of several, in seconds; numbers that the machine emulates take long, and need fewer."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 2:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
