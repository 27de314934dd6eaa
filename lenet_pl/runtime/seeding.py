"""Random numbers that depend on their purpose and the position in the training, never on earlier draws.

This makes an interrupted and resumed run identical to an uninterrupted one.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def keyed_generator(purpose: str, *key: int) -> torch.Generator:
    """Create a generator whose numbers depend only on purpose and key. Different keys give independent numbers.

    Args:
        purpose: Name of what the numbers are used for.
        key: Integers such as seed, epoch and step.
    """
    return torch.Generator().manual_seed(keyed_seed(purpose, *key))


def keyed_seed(purpose: str, *key: int) -> int:
    """Derive a seed from 0 to 2**63 - 1 that depends only on purpose and key.

    Args:
        purpose: Name of what the seed is used for.
        key: Integers such as seed, epoch and step.
    """
    digest = hashlib.blake2b(f"{purpose}{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the global generators that a network on a device draws from.

    The numbers equal those after `torch.manual_seed`, which is several times slower because it visits every backend.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def keep_global(device: torch.device) -> Iterator[None]:
    """Restore the state of the global generators on exit: that of the CPU, and that of a CUDA device."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
