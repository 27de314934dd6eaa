"""Gradient clipping, and the check that loss and gradient are finite."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def clip_and_check_gradients(
    parameters: Iterable[nn.Parameter], loss: Tensor, max_norm: float | None, *, allow_overflow: bool
) -> str | None:
    """Clip the gradient to `max_norm`, and report a non-finite loss or gradient before the optimizer step.

    Args:
        parameters: The parameters whose `grad` is clipped in place; those without a gradient are skipped.
        loss: The loss that was differentiated, a scalar tensor ().
        max_norm: The largest allowed L2 norm of all gradients together; None for no limit.
        allow_overflow: Whether infinite and NaN gradients are tolerated. Needed with a gradient scaler, which skips
            steps whose gradients overflow, and lowers its scale.

    Returns:
        The name and the value of what is not finite, or None if loss and gradient are finite.
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    if max_norm:
        norm = nn.utils.clip_grad_norm_(with_gradient, max_norm)
    else:
        norm = nn.utils.get_total_norm(parameter.grad for parameter in with_gradient if parameter.grad is not None)
    if allow_overflow:
        norm = norm.nan_to_num(0, 0)
    if torch.isfinite(loss + norm):
        return None
    return f"gradient norm: {float(norm)}" if torch.isfinite(loss) else f"train/loss: {float(loss)}"
