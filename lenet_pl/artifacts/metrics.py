"""Classification metrics from the logits of all images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Mistake:
    """A misclassified image.

    Attributes:
        index: Its index in the evaluated images.
        true: The label of its class.
        predicted: The label of the predicted class.
        probability: The probability of the predicted class.
    """

    index: int
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions of similar confidence.

    Attributes:
        lower: The lower bound of the probability of the predicted class.
        upper: The upper bound.
        count: The number of predictions in the bin.
        confidence: The mean probability of the predicted class; None for an empty bin.
        accuracy: The fraction of correct predictions; None for an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


class ClassificationMetrics:
    """Metrics of a set of predictions.

    Args:
        logits: Logits or log-probabilities, float (N, K).
        labels: True classes, int64 (N,).
        classes: K class names.

    Attributes:
        probabilities: Softmax of the logits, float (N, K).
        predictions: Predicted classes, int64 (N,).
        confusion: Counts, int64 (K, K), with true classes in rows and predicted classes in columns.
    """

    def __init__(self, logits: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
        self.logits = logits.float()
        self.probabilities = self.logits.softmax(1)
        self.labels, self.classes = labels, list(classes)
        self.predictions = logits.argmax(1)
        size = len(self.classes)
        pairs = torch.bincount(size * labels + self.predictions, minlength=size**2)
        self.confusion = pairs.view(size, size)

    def per_class_accuracy(self) -> dict[str, float | None]:
        """Return the fraction of each class's images that is classified correctly; None for a class without images."""
        counts, right = self.confusion.sum(1), self.confusion.diagonal()
        return {name: int(r) / int(n) if n else None for name, r, n in zip(self.classes, right, counts, strict=True)}

    def most_confused(self) -> dict[str, Any] | None:
        """Find the two classes that are confused most often.

        Returns:
            Their names (`classes`), the number of confusions (`count`), and the number in each direction, as in
            `"4 → 9"`; None if there are no mistakes.
        """
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
        """Return at most `limit` mistakes, most confident first."""
        wrong = torch.nonzero(self.predictions != self.labels)[:, 0]
        certainty = self.probabilities[wrong].max(1).values if len(wrong) else torch.empty(0)
        order = wrong[certainty.sort(descending=True, stable=True).indices][:limit]
        return [
            Mistake(i, int(self.labels[i]), int(p := self.predictions[i]), float(self.probabilities[i, p]))
            for i in order.tolist()
        ]

    def accuracy(self) -> float:
        """Return the fraction of images that are classified correctly."""
        return int(self.confusion.diagonal().sum()) / len(self.labels)

    def loss(self) -> float:
        """Return the mean cross entropy, in nats."""
        return float(functional.cross_entropy(self.logits.double(), self.labels))

    def top_accuracy(self, k: int) -> float:
        """Return the fraction of images whose class is among the k most probable ones."""
        likeliest = self.logits.topk(min(k, len(self.classes))).indices
        return int((likeliest == self.labels[:, None]).sum()) / len(self.labels)

    def per_class(self) -> dict[str, dict[str, float | None]]:
        """Return `precision`, `recall`, `f1` and `support` (number of images) of each class.

        A class that is never predicted has precision 0. For a class without images all but the support are None.
        """
        predicted, counts, right = self.confusion.sum(0), self.confusion.sum(1), self.confusion.diagonal()
        rows: dict[str, dict[str, float | None]] = {}
        for name, p, n, r in zip(self.classes, predicted.tolist(), counts.tolist(), right.tolist(), strict=True):
            values = (r / p if p else 0.0, r / n, 2 * r / (p + n)) if n else (None, None, None)
            rows[name] = dict(zip(("precision", "recall", "f1"), values, strict=True)) | {"support": n}
        return rows

    def macro_average(self) -> dict[str, float]:
        """Return `precision`, `recall` and `f1`, averaged over the classes with images, with equal weights."""
        rows = [row for row in self.per_class().values() if row["support"]]
        return {name: sum(row[name] or 0.0 for row in rows) / len(rows) for name in ("precision", "recall", "f1")}

    def calibration(self, bins: int = 15) -> list[CalibrationBin]:
        """Group the predictions by confidence into bins of equal width; see `calibration_error`."""
        confidence = self.probabilities.double().max(1).values
        index = (confidence * bins).long().clamp(max=bins - 1)  # the last bin includes probability 1
        counts = torch.bincount(index, minlength=bins)
        sums = torch.bincount(index, confidence, bins)
        right = torch.bincount(index, (self.predictions == self.labels).double(), bins)
        return [
            CalibrationBin(k / bins, (k + 1) / bins, n, c / n if n else None, r / n if n else None)
            for k, (n, c, r) in enumerate(zip(counts.tolist(), sums.tolist(), right.tolist(), strict=True))
        ]


def calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """Compute the expected calibration error: the mean absolute gap between confidence and accuracy.

    Each bin is weighted by its number of images. torchmetrics puts predictions with probability 1 into a separate bin,
    which would not match the reliability diagram.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    gaps = [
        b.count * abs(b.confidence - b.accuracy) for b in bins if b.confidence is not None and b.accuracy is not None
    ]
    return sum(gaps) / sum(b.count for b in bins)
