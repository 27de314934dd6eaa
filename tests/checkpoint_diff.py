"""Compare two checkpoints completely, at tolerance 0."""

from pathlib import Path
from typing import Any

import torch

WALL_CLOCK = {"seconds", "images/s", "resumed_at"}
PLACES = {"run", "dirpath", "best_model_path", "kth_best_model_path", "best_k_models"}


def difference(a: Any, b: Any, place: str = "") -> list[str]:
    """List the keys at which two checkpoints differ, except for wall-clock times and paths."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = {key for key in a.keys() | b.keys() if key not in WALL_CLOCK | PLACES}
        return [d for key in keys for d in difference(a.get(key, "absent"), b.get(key, "absent"), f"{place}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [d for i, pair in enumerate(zip(a, b, strict=True)) for d in difference(*pair, f"{place}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and torch.equal(a, b)
    else:
        same = type(a) is type(b) and a == b
    return [] if same else [place]


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content
