"""Memory allocation of this process, and its peak."""

import ctypes
import sys
from pathlib import Path

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # constants of glibc's malloc.h
KEPT = 1 << 30  # bytes of freed memory that the process keeps
LARGE = 256 << 20  # bytes; larger blocks go back to the system as soon as they are freed


def tune_malloc() -> bool:
    """Let the C library keep the memory that a training step frees, since the next step needs as much again.

    By default glibc returns the activations to the system after each step. The system then hands out the same pages
    again, zeroed, with a page fault each. `python -m lenet_pl.benchmark` measures the gain. See mallopt(3).

    Returns:
        Whether the thresholds were set, which only glibc supports.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(TRIM_THRESHOLD, KEPT) and mallopt(MMAP_THRESHOLD, LARGE))


def return_freed_memory() -> None:
    """Return the memory that this process has freed to the system, which only glibc supports. See malloc_trim(3)."""
    if sys.platform.startswith("linux") and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def clear_jit_cache() -> None:
    """Free the networks cached by `torch.jit.trace`, which TensorBoard's graph is created with.

    PyTorch keeps each traced network until the process ends, about 1.5 MB for a LeNet (PyTorch issue 35600). There is
    no public API for this. The tests of PyTorch and of Hugging Face's transformers do the same.
    """
    import torch

    torch._C._jit_clear_class_registry()
    torch.jit._state._clear_class_state()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # rusage also counts the parent process if that was larger
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
