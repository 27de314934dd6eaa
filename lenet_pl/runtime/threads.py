"""Intra-op threads: how many a training uses, and how idle ones wait without slowing down other programs."""

import copy
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# By default an idle OpenMP thread spins for milliseconds, on a core that another thread or program may be waiting for.
# The variables are those of libgomp (in PyTorch's wheels) and of the OpenMP runtimes of Intel and LLVM.
SHORT_WAIT = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
WAIT_POLICY = "OMP_WAIT_POLICY"  # the OpenMP standard's variable; a user who sets it has chosen
MANY_OPERATIONS = 1.5e9  # floating-point operations per step; with fewer, threads cost more than they gain
NOTEWORTHY = 0.25  # cores


def prepare_openmp() -> None:
    """Let idle OpenMP threads sleep almost at once, and limit their number to the cores of the container.

    This has no effect once torch is imported, since torch reads the environment then. Variables set by the user stay.
    """
    if "torch" in sys.modules:
        return
    if not os.environ.keys() & {WAIT_POLICY, *SHORT_WAIT}:
        os.environ.update(SHORT_WAIT)
    if (cores := usable_cores()) < len(_cpu_set()):  # OpenMP knows the CPU set but not the quota
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


@contextmanager
def default_waiting() -> Iterator[None]:
    """Restore OpenMP's default waiting for the processes that are started inside the block."""
    before = {name: os.environ.pop(name, None) for name in SHORT_WAIT}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})


def usable_cores() -> int:
    """Return the number of cores that this process may use: its CPU set, within the quota of its container."""
    quota = _quota(Path("/sys/fs/cgroup"))
    return max(1, min(len(_cpu_set()), round(quota))) if quota else len(_cpu_set())


def _cpu_set() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _quota(root: Path) -> float | None:
    """Read the CPU quota of the container in cores, from version 2 or 1 of cgroups. None if there is no limit."""
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None  # the quota is `max`, or this system has no cgroups


def choose_threads(model: Any, example: Any, batch_size: int) -> int:
    """Choose the number of intra-op threads of a training whose settings do not give one.

    Short steps get one thread. With LeNet-5 at batch size 128, two threads are 1.5 times as fast on an idle machine,
    and several times slower on a busy one. The choice depends on the network, the batch size and the cores, never on
    the current load, so that a run can be repeated.

    Args:
        model: The network.
        example: An input of the network, float (1, C, H, W).
        batch_size: Number of images per training step.

    Returns:
        Either 1 or the number of threads that torch has and this process can use.
    """
    import torch

    most = min(torch.get_num_threads(), usable_cores())
    return 1 if most == 1 or training_operations(model, example) * batch_size < MANY_OPERATIONS else most


def training_operations(model: Any, example: Any) -> float:
    """Count the floating-point operations of a forward and backward pass for one image, with torch's counter.

    Args:
        model: The network, whose mode, gradients and statistics stay unchanged.
        example: An input of the network, float (1, C, H, W).
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:  # the meta device computes nothing and draws no random numbers
        copy.deepcopy(model).to("meta").train()(example.expand(2, *example.shape[1:]).to("meta")).sum().backward()
    return float(counter.get_total_flops() / 2)


@contextmanager
def restored_threads() -> Iterator[None]:
    """Restore the number of threads that the caller of a training had, such as a notebook."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class LoadMeter:
    """The number of cores that other programs use, measured since construction. Available on Linux only."""

    def __init__(self) -> None:
        self._start, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def cores_of_others(self) -> float | None:
        """Return the average number of cores that other programs have used. None if it is unknown."""
        busy, seconds = _busy_seconds(), time.perf_counter() - self._start
        if busy is None or self._busy is None or seconds < 0.2:  # the system counts in hundredths of a second
            return None
        return max(0.0, busy - self._busy - (_own_seconds() - self._own)) / seconds

    def describe(self, threads: int) -> str:
        """Report in a line that other programs leave too few cores for `threads` threads. Empty if they do not."""
        others, cores = self.cores_of_others(), os.cpu_count() or 1
        if others is None or cores - others > threads - NOTEWORTHY or others < NOTEWORTHY:
            return ""
        return f"other programs use {others:.1f} of {cores} cores"


def _busy_seconds() -> float | None:
    """Return the busy time of all cores together since the machine started, in s. None if it is unknown."""
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
