"""What can be said about a classifier once every test image has its logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified image."""

    index: int  # in the test part
    true: int
    predicted: int
    probability: float  # of the predicted class


class Scores:
    """Scores of predictions.

    Args:
        logits: float (N, K).
        labels: int64 (N,).
        classes: K names.
    """

    def __init__(self, logits: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
        self.probabilities = logits.float().softmax(1)
        self.labels, self.classes = labels, list(classes)
        self.predictions = logits.argmax(1)
        self.confusion: Tensor = multiclass_confusion_matrix(logits, labels, len(self.classes))  # (K, K), rows are true

    def per_class_accuracy(self) -> dict[str, float | None]:
        """Share of each class's images that was recognised; None for a class without images."""
        counts, right = self.confusion.sum(1), self.confusion.diagonal()
        return {name: int(r) / int(n) if n else None for name, r, n in zip(self.classes, right, counts, strict=True)}

    def most_confused(self) -> dict[str, Any] | None:
        """Name the two classes that are taken for each other most often, with the count in both directions."""
        off = self.confusion - torch.diag(self.confusion.diagonal())
        both = torch.triu(off + off.T)
        if both.sum() == 0:
            return None
        first, second = divmod(int(both.argmax()), len(self.classes))
        return {
            "classes": [self.classes[first], self.classes[second]],
            "count": int(both[first, second]),
            f"{self.classes[first]} → {self.classes[second]}": int(off[first, second]),
            f"{self.classes[second]} → {self.classes[first]}": int(off[second, first]),
        }

    def mistakes(self, limit: int) -> list[Mistake]:
        """List the wrong predictions, most confident first."""
        wrong = torch.nonzero(self.predictions != self.labels)[:, 0]
        certainty = self.probabilities[wrong].max(1).values if len(wrong) else torch.empty(0)
        order = wrong[certainty.sort(descending=True, stable=True).indices][:limit]
        return [
            Mistake(i, int(self.labels[i]), int(p := self.predictions[i]), float(self.probabilities[i, p]))
            for i in order.tolist()
        ]
