"""What a checkpoint inside an epoch keeps of the steps that were taken, for the scores of the whole epoch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Step = tuple[Tensor, Tensor, Tensor]  # loss (), predictions (B,), labels (B,)


def pack(steps: Sequence[Step], rates: Sequence[float]) -> dict[str, Any]:
    """Put steps, at least one, and their learning rates into plain values and few tensors."""
    losses, predictions, labels = zip(*steps, strict=True)
    return {
        "losses": torch.stack(losses),
        "sizes": [len(some) for some in labels],
        "rates": list(rates),
        "predictions": torch.cat(predictions),
        "labels": torch.cat(labels),
    }


def unpack(packed: dict[str, Any], device: torch.device) -> tuple[list[Step], list[float]]:
    """Give the steps back, on a device, and their learning rates."""
    predictions, labels = (packed[name].to(device).split(packed["sizes"]) for name in ("predictions", "labels"))
    return list(zip(packed["losses"].to(device), predictions, labels, strict=True)), list(packed["rates"])
