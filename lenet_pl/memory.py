"""How this process takes and returns memory."""

import ctypes
import sys
from pathlib import Path

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of glibc's malloc.h
KEPT = 1 << 30  # bytes of freed memory that stay with the process
LARGE = 256 << 20  # bytes; larger blocks are returned as soon as they are freed


def keep_freed_memory() -> bool:
    """Let the C library keep what a training step frees, since the next step takes as much again.

    By default glibc returns the activations to the system after each step, and the system hands out the same pages
    anew, cleared, one fault at a time. `python -m lenet_pl.benchmark` shows what it is worth. See mallopt(3).

    Returns:
        Whether it could be done: only with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(TRIM_THRESHOLD, KEPT) and mallopt(MMAP_THRESHOLD, LARGE))


def forget_traces() -> None:
    """Free the networks that `torch.jit.trace` has seen, which TensorBoard's graph is drawn with.

    PyTorch keeps each of them, some 1.5 MB for a LeNet, until the process ends: its issue 35600. There is no public
    way; this is what its own tests and those of Hugging Face's transformers do.
    """
    import torch

    torch._C._jit_clear_class_registry()
    torch.jit._state._clear_class_state()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # rusage counts the process that started this one, too, if that was larger
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
