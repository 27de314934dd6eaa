"""Knowledge distillation: a network, the student, also learns the outputs of trained networks, its teachers."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lenet_pl.optim.distillation_loss import distillation_loss, soft_targets


class Distillation:
    """The training loss of a student: weight · T² · KL(teacher || student) + (1 - weight) · loss.

    The teachers see the images of the training step, augmented and mixed as they are, in evaluation mode and without
    gradient. With several teachers, their softened probabilities are averaged. They are not part of the student:
    neither its parameters nor its checkpoints contain them.

    Args:
        teachers: Networks that map the student's input, float (B, C, H, W), to logits (B, K). They are set to
            evaluation mode, and their weights are frozen.
        temperature: T, by which the logits of teachers and student are divided before the softmax.
        weight: The weight of the divergence from the teachers, greater than 0, up to 1.
        sources: What results.json says of each teacher, plain JSON values.
        notes: Warnings for the results, one line each.

    Example::

        distillation = Distillation([trained], temperature=4, weight=0.9)
        task = ImageClassifier(lenet5(num_classes=10), num_classes=10, distillation=distillation)

    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network".
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module],
        *,
        temperature: float = 4.0,
        weight: float = 0.9,
        sources: Sequence[Mapping[str, Any]] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.teachers = [teacher.eval().requires_grad_(False) for teacher in teachers]
        self.temperature, self.weight = temperature, weight
        self.sources, self.notes = sources, notes

    def to(self, device: torch.device) -> Self:
        """Move the teachers to a device."""
        for teacher in self.teachers:
            teacher.to(device)
        return self

    def __call__(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Combine a loss () with the divergence from the teachers.

        Args:
            loss: The mean loss of the student on the labels, a scalar tensor ().
            logits: The outputs of the student, float (B, K).
            images: The images for which it computed them, float (B, C, H, W).

        Returns:
            A scalar tensor ().
        """
        with torch.no_grad():
            targets = soft_targets([teacher(images) for teacher in self.teachers], self.temperature)
        return self.weight * distillation_loss(logits, targets, self.temperature) + (1 - self.weight) * loss
