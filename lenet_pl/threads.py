"""Intra-op threads: how many a training uses, and how they wait, so that work beside it does not stop both."""

import copy
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# By default each of OpenMP's threads that has nothing to do spins for milliseconds, on a core that another program's
# thread, or another of its own, is waiting for. Variables of libgomp (PyTorch's wheels) and of Intel's and LLVM's.
SHORT_WAIT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
WAIT_POLICY = "OMP_WAIT_POLICY"  # the standard's variable; whoever sets it has chosen
MANY_OPERATIONS = 1.5e9  # of a training step; a step of less is over sooner than threads agree who does what
NOTEWORTHY = 0.25  # of a core


def prepare_openmp() -> None:
    """Let idle threads sleep almost at once, and start no more than a container has cores for.

    Does nothing once torch is imported, which reads the environment then. What the user has set there stays.
    """
    if "torch" in sys.modules:
        return
    if not os.environ.keys() & {WAIT_POLICY, *SHORT_WAIT}:
        os.environ.update(SHORT_WAIT)
    if (cores := usable_cores()) < len(_cpu_set()):  # OpenMP knows the CPU set and not the quota
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


@contextmanager
def default_waiting() -> Iterator[None]:
    """Start processes whose threads wait as they do in any program."""
    before = {name: os.environ.pop(name, None) for name in SHORT_WAIT}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


def usable_cores() -> int:
    """Count the cores that this process may use: those of its CPU set, within the quota of its container."""
    quota = _quota(Path("/sys/fs/cgroup"))
    return max(1, min(len(_cpu_set()), round(quota))) if quota else len(_cpu_set())


def _cpu_set() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _quota(root: Path) -> float | None:
    """Read how many cores' time the container has, from version 2 or 1 of cgroups; None: no limit."""
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None  # `max`, or no such thing on this system


def choose_threads(model: Any, example: Any, batch_size: int) -> int:
    """Choose the intra-op threads of a training that asks for no number.

    One, where a step is short: with LeNet-5 at batch 128 two threads are 1.5 times as fast on a machine that does
    nothing else, and several times slower on one that does. The choice depends on the network, the batch size and the
    cores, never on what the machine does at the moment, so that a run can be repeated.

    Args:
        model: the network.
        example: what it takes, float (1, C, H, W).
        batch_size: images per training step.

    Returns:
        1, or as many as torch has and this process can use.
    """
    import torch

    most = min(torch.get_num_threads(), usable_cores())
    return 1 if most == 1 or training_operations(model, example) * batch_size < MANY_OPERATIONS else most


def training_operations(model: Any, example: Any) -> float:
    """Count the floating-point operations that training needs for one image, forward and backward, by torch's counter.

    Args:
        model: the network; its mode, gradients and statistics stay as they are.
        example: what it takes, float (1, C, H, W).
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:  # nothing is computed on the meta device, and nothing drawn
        copy.deepcopy(model).to("meta").train()(example.expand(2, *example.shape[1:]).to("meta")).sum().backward()
    return float(counter.get_total_flops() / 2)


@contextmanager
def restored_threads() -> Iterator[None]:
    """Give the caller of a training, a notebook for one, its own number of threads back."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LoadMeter:
    """How many cores other programs use, from its construction on; known on Linux only."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def cores_of_others(self) -> float | None:
        """Return how many cores' time others have taken on average; None where the system does not tell."""
        busy, seconds = _busy_seconds(), time.perf_counter() - self._start
        if busy is None or self._busy is None or seconds < 0.2:  # the system counts in hundredths
            return None
        return max(0.0, busy - self._busy - (_own_seconds() - self._own)) / seconds

    def describe(self, threads: int) -> str:
        """Say in a line that others leave too few cores for so many threads; empty if they do not."""
        others, cores = self.cores_of_others(), os.cpu_count() or 1
        if others is None or cores - others > threads - NOTEWORTHY or others < NOTEWORTHY:
            return ""
        return f"other programs use {others:.1f} of {cores} cores"


def _busy_seconds() -> float | None:
    """Read how long all cores together have worked since the machine started."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    except (OSError, ValueError):
        return None
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
