"""What can be said about a classifier once every test image has its logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_confusion_matrix


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified image."""

    index: int  # in the test part
    true: int
    predicted: int
    probability: float  # of the predicted class


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions of similar probability."""

    lower: float  # probability of the predicted class, from here
    upper: float  # to here
    count: int
    confidence: float | None  # mean probability; None where there is no prediction
    accuracy: float | None  # share that is right


class Scores:
    """Scores of predictions.

    Args:
        logits: float (N, K).
        labels: int64 (N,).
        classes: K names.
    """

    def __init__(self, logits: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
        self.logits = logits.float()
        self.probabilities = self.logits.softmax(1)
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

    def accuracy(self) -> float:
        """Share of the images that were recognised."""
        return int(self.confusion.diagonal().sum()) / len(self.labels)

    def loss(self) -> float:
        """Mean cross entropy, in nats."""
        return float(functional.cross_entropy(self.logits.double(), self.labels))

    def top_accuracy(self, k: int) -> float:
        """Share of the images whose class is among the k likeliest."""
        likeliest = self.logits.topk(min(k, len(self.classes))).indices
        return int((likeliest == self.labels[:, None]).sum()) / len(self.labels)

    def per_class(self) -> dict[str, dict[str, float | None]]:
        """Precision, recall, F1 and support of each class.

        A class that is never predicted has precision 0. One without images has None for all but its support, 0.
        """
        predicted, counts, right = self.confusion.sum(0), self.confusion.sum(1), self.confusion.diagonal()
        rows: dict[str, dict[str, float | None]] = {}
        for name, p, n, r in zip(self.classes, predicted.tolist(), counts.tolist(), right.tolist(), strict=True):
            values = (r / p if p else 0.0, r / n, 2 * r / (p + n)) if n else (None, None, None)
            rows[name] = dict(zip(("precision", "recall", "f1"), values, strict=True)) | {"support": n}
        return rows

    def macro(self) -> dict[str, float]:
        """Mean precision, recall and F1 over the classes that have images, each class counting the same."""
        rows = [row for row in self.per_class().values() if row["support"]]
        return {name: sum(row[name] or 0.0 for row in rows) / len(rows) for name in ("precision", "recall", "f1")}

    def calibration(self, bins: int = 15) -> list[CalibrationBin]:
        """Sort the predictions by their probability into bins of the same width; see `calibration_error`."""
        confidence = self.probabilities.double().max(1).values
        index = (confidence * bins).long().clamp(max=bins - 1)  # the last bin has probability 1, too
        counts = torch.bincount(index, minlength=bins)
        sums = torch.bincount(index, confidence, bins)
        right = torch.bincount(index, (self.predictions == self.labels).double(), bins)
        return [
            CalibrationBin(k / bins, (k + 1) / bins, n, c / n if n else None, r / n if n else None)
            for k, (n, c, r) in enumerate(zip(counts.tolist(), sums.tolist(), right.tolist(), strict=True))
        ]


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Expected calibration error: by how much confidence and accuracy differ in a bin, on average over the images.

    torchmetrics gives predictions of probability exactly 1 a bin of their own, which would not be what is drawn.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    gaps = [
        b.count * abs(b.confidence - b.accuracy) for b in bins if b.confidence is not None and b.accuracy is not None
    ]
    return sum(gaps) / sum(b.count for b in bins)
