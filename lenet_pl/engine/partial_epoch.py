"""Step outputs of an unfinished epoch in a checkpoint, for the metrics of the whole epoch after a resume."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Step = tuple[Tensor, Tensor, Tensor]  # loss (), predictions (B,), labels (B,)


def pack(steps: Sequence[Step], rates: Sequence[float]) -> dict[str, Any]:
    """Pack step outputs into few tensors and plain values.

    Args:
        steps: Loss, predictions and labels of each step; at least one step.
        rates: The learning rate of each step.
    """
    losses, predictions, labels = zip(*steps, strict=True)
    return {
        "losses": torch.stack(losses),
        "sizes": [len(some) for some in labels],
        "rates": list(rates),
        "predictions": torch.cat(predictions),
        "labels": torch.cat(labels),
    }


def unpack(packed: dict[str, Any], device: torch.device) -> tuple[list[Step], list[float]]:
    """Unpack what `pack` returned: the step outputs, with tensors on `device`, and the learning rates."""
    predictions, labels = (packed[name].to(device).split(packed["sizes"]) for name in ("predictions", "labels"))
    return list(zip(packed["losses"].to(device), predictions, labels, strict=True)), list(packed["rates"])
