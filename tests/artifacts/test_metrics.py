import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
    top_k_accuracy_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error

from lenet_pl.artifacts.metrics import ClassificationMetrics, calibration_error

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def scores() -> ClassificationMetrics:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    logits = torch.randn(200, 4, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 4)
    return ClassificationMetrics(logits, labels, NAMES)


def by_hand() -> ClassificationMetrics:
    """True 0 taken for 1 twice and 1 for 0 once; 2 for 0 once; 0 and 1 right once; no dog."""
    true, predicted = [0, 0, 1, 2, 0, 1], [1, 1, 0, 0, 0, 1]
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 4) * torch.tensor([1.0, 3, 2, 1, 1, 1])[:, None]
    return ClassificationMetrics(logits, torch.tensor(true), NAMES)


def test_confusion_matrix_equals_scikit_learns(scores: ClassificationMetrics) -> None:
    assert scores.confusion.tolist() == confusion_matrix(scores.labels, scores.predictions).tolist()
    share = scores.confusion.diagonal().sum() / scores.confusion.sum()
    assert float(share) == pytest.approx(accuracy_score(scores.labels, scores.predictions))


def test_accuracy_per_class_equals_scikit_learns_recall(scores: ClassificationMetrics) -> None:
    recall = recall_score(scores.labels, scores.predictions, average=None)
    assert scores.per_class_accuracy() == dict(zip(NAMES, map(pytest.approx, recall), strict=True))


def test_a_class_without_images_has_no_accuracy() -> None:
    assert by_hand().per_class_accuracy() == {"ant": 1 / 3, "bee": 1 / 2, "cat": 0, "dog": None}


def test_the_most_confused_pair_counts_both_directions() -> None:
    assert by_hand().most_confused() == {"classes": ["ant", "bee"], "count": 3, "ant → bee": 2, "bee → ant": 1}


def test_without_mistakes_nothing_is_confused() -> None:
    perfect = ClassificationMetrics(torch.eye(4), torch.arange(4), NAMES)
    assert perfect.most_confused() is None
    assert perfect.mistakes(5) == []


def test_mistakes_come_most_confident_first() -> None:
    found = by_hand().mistakes(10)
    assert [(m.index, m.true, m.predicted) for m in found] == [(1, 0, 1), (2, 1, 0), (0, 0, 1), (3, 2, 0)]
    e = 2.718281828459045
    assert [m.probability for m in found] == [pytest.approx(e**x / (e**x + 3)) for x in (3, 2, 1, 1)]
    assert by_hand().mistakes(2) == found[:2]


def test_precision_recall_and_f1_equal_scikit_learns(scores: ClassificationMetrics) -> None:
    expected = precision_recall_fscore_support(scores.labels, scores.predictions)
    for key, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert [row[key] for row in scores.per_class().values()] == pytest.approx(values)
    macro = precision_recall_fscore_support(scores.labels, scores.predictions, average="macro")[:3]
    assert list(scores.macro_average().values()) == pytest.approx(macro)
    assert scores.accuracy() == pytest.approx(accuracy_score(scores.labels, scores.predictions))


def test_a_class_without_images_is_left_out_of_the_means() -> None:
    found = by_hand()
    assert found.per_class()["dog"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert found.per_class()["cat"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}  # never predicted
    macro = precision_recall_fscore_support(
        found.labels, found.predictions, labels=[0, 1, 2], average="macro", zero_division=0
    )
    assert list(found.macro_average().values()) == pytest.approx(macro[:3])


def test_loss_and_top_k_equal_scikit_learns(scores: ClassificationMetrics) -> None:
    assert scores.loss() == pytest.approx(log_loss(scores.labels, scores.logits.double().softmax(1)))
    for k in (1, 2, 3):
        assert scores.top_accuracy(k) == pytest.approx(top_k_accuracy_score(scores.labels, scores.logits, k=k))
    assert scores.top_accuracy(9) == 1


def test_the_loss_of_a_certain_mistake_is_finite() -> None:
    certain = ClassificationMetrics(torch.tensor([[200.0, 0.0]]), torch.tensor([1]), ["ant", "bee"])
    assert certain.loss() == pytest.approx(200)


def certain_to(*confidences: float, right: tuple[bool, ...]) -> ClassificationMetrics:
    """Two classes; class 0 is predicted with the given probabilities."""
    chances = torch.tensor(confidences, dtype=torch.float64)
    logits = torch.stack([torch.log(chances), torch.log(1 - chances)], 1)
    return ClassificationMetrics(logits, torch.tensor([0 if one else 1 for one in right]), ["ant", "bee"])


def test_calibration_error_by_hand() -> None:
    # Bins of 1/15: 0.55 and 0.56 share [0.533, 0.6), 0.95 and 1 share [0.933, 1]
    found = certain_to(0.55, 0.56, 0.95, 1, right=(True, False, False, True))
    bins = found.calibration()
    full = {k: (b.count, b.accuracy, b.confidence) for k, b in enumerate(bins) if b.count}
    assert full == {8: (2, 0.5, pytest.approx(0.555)), 14: (2, 0.5, pytest.approx(0.975))}
    assert calibration_error(bins) == pytest.approx((2 * 0.055 + 2 * 0.475) / 4)
    assert (bins[0].lower, bins[14].upper, bins[0].accuracy) == (0, 1, None)


def test_calibration_error_equals_torchmetrics(scores: ClassificationMetrics) -> None:
    assert float(scores.probabilities.max()) < 1  # which torchmetrics would count apart
    expected = multiclass_calibration_error(scores.probabilities, scores.labels, 4, n_bins=15, norm="l1")
    assert calibration_error(scores.calibration()) == pytest.approx(float(expected), abs=1e-6)
