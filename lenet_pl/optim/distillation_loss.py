"""The loss of knowledge distillation."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def soft_targets(teachers: Sequence[Tensor], temperature: float) -> Tensor:
    """Average the softened probabilities of several teachers.

    Args:
        teachers: The logits of each teacher, float (B, K).
        temperature: The number by which logits are divided before the softmax.

    Returns:
        Probabilities, float (B, K).
    """
    return torch.stack([(_full(logits) / temperature).softmax(1) for logits in teachers]).mean(0)


def distillation_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Compute T² · KL(teacher || student), the mean over the images of a batch.

    The factor T² keeps the size of the gradient independent of the temperature T, approximately.

    Args:
        logits: The outputs of the student, float (B, K).
        targets: The softened probabilities of the teacher, float (B, K).
        temperature: T, by which the logits of the student are divided before the softmax.

    Returns:
        The divergence in nats times T², a scalar tensor ().

    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2.
    """
    softened = functional.log_softmax(_full(logits) / temperature, 1)
    return functional.kl_div(softened, targets.to(softened), reduction="batchmean") * temperature**2


def _full(logits: Tensor) -> Tensor:
    """Convert bf16 or fp16 logits to float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
