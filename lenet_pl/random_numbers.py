"""Random numbers as a function of what they are for and of where the training stands, never of what was drawn before.

That is what makes a run that was interrupted equal to one that was not.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def keyed_generator(purpose: str, *key: int) -> torch.Generator:
    """Make a generator whose numbers depend on the key alone; different keys give unrelated numbers."""
    return torch.Generator().manual_seed(keyed_seed(purpose, *key))


def keyed_seed(purpose: str, *key: int) -> int:
    """Make a seed, 0 to 2**63 - 1, that depends on the key alone."""
    digest = hashlib.blake2b(f"{purpose}{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the generators that a network on a device draws from.

    The numbers are those after `torch.manual_seed`, which takes several times as long, as it asks every other backend.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def keep_global(device: torch.device) -> Iterator[None]:
    """Give the global random numbers back as they were, to whoever else draws from them; on mps those of the CPU."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
