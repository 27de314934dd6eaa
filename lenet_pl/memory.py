"""How this process takes and returns memory."""

import ctypes
import sys

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
