"""Random numbers as a function of what they are for and of where the training stands, never of what was drawn before.

That is what makes a run that was interrupted equal to one that was not.
"""

import hashlib

import torch


def keyed_generator(purpose: str, *key: int) -> torch.Generator:
    """Make a generator whose numbers depend on the key alone; different keys give unrelated numbers."""
    return torch.Generator().manual_seed(keyed_seed(purpose, *key))


def keyed_seed(purpose: str, *key: int) -> int:
    """Make a seed, 0 to 2**63 - 1, that depends on the key alone."""
    digest = hashlib.blake2b(f"{purpose}{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
