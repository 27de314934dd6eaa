"""Gradient clipping, and the check that loss and gradient are finite."""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

ClipAlgorithm = Literal["norm", "value"]


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float | None, algorithm: str | None = "norm") -> None:
    """Clip the gradient in place.

    Args:
        parameters: The parameters whose `grad` is clipped; those without a gradient are skipped.
        limit: The largest allowed L2 norm of all gradients together, or the largest absolute value; None for no limit.
        algorithm: Whether the limit applies to the norm or to each value.
    """
    if limit and algorithm == "value":
        nn.utils.clip_grad_value_(parameters, limit)
    elif limit:
        nn.utils.clip_grad_norm_(parameters, limit)


def clip_and_measure_gradients(
    parameters: Iterable[nn.Parameter], limit: float | None, algorithm: ClipAlgorithm = "norm"
) -> Tensor:
    """Clip the gradient in place, without waiting for a GPU; arguments as for `clip_gradients`.

    Returns:
        The L2 norm of all gradients together before clipping, a scalar tensor ().
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    if limit and algorithm == "norm":
        return nn.utils.clip_grad_norm_(with_gradient, limit)
    norm = nn.utils.get_total_norm(parameter.grad for parameter in with_gradient if parameter.grad is not None)
    clip_gradients(with_gradient, limit, algorithm)
    return norm


def clip_and_check_gradients(
    parameters: Iterable[nn.Parameter],
    loss: Tensor,
    limit: float | None,
    algorithm: ClipAlgorithm = "norm",
    *,
    allow_overflow: bool = False,
) -> str | None:
    """Clip the gradient, and report a non-finite loss or gradient before the optimizer step.

    Args:
        parameters: The parameters whose `grad` is clipped in place; those without a gradient are skipped.
        loss: The loss that was differentiated, a scalar tensor ().
        limit: The largest allowed L2 norm of all gradients together, or the largest absolute value; None for no limit.
        algorithm: Whether the limit applies to the norm or to each value.
        allow_overflow: Whether infinite and NaN gradients are tolerated. Needed with a gradient scaler, which skips
            steps whose gradients overflow, and lowers its scale.

    Returns:
        The name and the value of what is not finite, or None if loss and gradient are finite.
    """
    parameters = list(parameters)
    if not limit and loss.device.type == "cpu" and _all_finite(parameters, loss):
        return None
    norm = clip_and_measure_gradients(parameters, limit, algorithm)
    if allow_overflow:
        norm = norm.nan_to_num(0, 0)
    if torch.isfinite(loss + norm):
        return None
    return f"gradient norm: {float(norm)}" if torch.isfinite(loss) else f"train/loss: {float(loss)}"


def _all_finite(parameters: Iterable[nn.Parameter], loss: Tensor) -> bool:
    """Check loss and gradients in few operations, whose calls are what takes time for a small network on a CPU."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch._foreach_norm(gradients) if gradients else ()
    return math.isfinite(loss.item() + sum(norm.item() for norm in norms))
