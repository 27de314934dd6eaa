"""Peak rates of this machine, to which training rates are compared."""

import time
from collections.abc import Callable

import torch

from lenet_pl.data.image_dataset import ImageDataset

SIDE = 1024  # rows and columns of the multiplied matrices


def multiply_rate(dtype: torch.dtype) -> float:
    """Measure matrix multiplication in floating-point operations per second. A multiply-add counts as two."""
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / _best(lambda: a @ b)


def gather_rate(images: ImageDataset, batch_size: int) -> float:
    """Measure the gathering of random images into batches in bytes per second."""
    index = torch.randperm(len(images))[:batch_size]
    return images[index].images.numel() / _best(lambda: images[index].images)


def _best(work: Callable[[], object], seconds: float = 0.5) -> float:
    """Return the shortest time, in seconds, of at least two repetitions that take about `seconds` in total."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < 2:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
