"""Gradients before they change a weight: their largest norm, and that they are numbers."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def clip_gradient(
    parameters: Iterable[nn.Parameter], loss: Tensor, largest: float | None, *, scaled: bool
) -> str | None:
    """Bring the gradient to its largest norm, and say what is no finite number before it changes a weight.

    Args:
        parameters: with their gradients.
        loss: () that they are of.
        largest: norm of the whole gradient; None: any.
        scaled: gradients may overflow, since a scaler finds the largest scale by that and leaves such steps out.

    Returns:
        None if all is finite, else what is not, and its value.
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    if largest:
        norm = nn.utils.clip_grad_norm_(with_gradient, largest)
    else:
        norm = nn.utils.get_total_norm(parameter.grad for parameter in with_gradient if parameter.grad is not None)
    if scaled:
        norm = norm.nan_to_num(0, 0)
    if torch.isfinite(loss + norm):
        return None
    return f"gradient norm: {float(norm)}" if torch.isfinite(loss) else f"train/loss: {float(loss)}"
