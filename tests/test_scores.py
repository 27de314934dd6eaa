import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from lenet_pl.scores import Scores

NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def scores() -> Scores:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (200,), generator=generator)
    logits = torch.randn(200, 4, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 4)
    return Scores(logits, labels, NAMES)


def by_hand() -> Scores:
    """True 0 taken for 1 twice and 1 for 0 once; 2 for 0 once; 0 and 1 right once; no dog."""
    true, predicted = [0, 0, 1, 2, 0, 1], [1, 1, 0, 0, 0, 1]
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), 4) * torch.tensor([1.0, 3, 2, 1, 1, 1])[:, None]
    return Scores(logits, torch.tensor(true), NAMES)


def test_confusion_matrix_equals_scikit_learns(scores: Scores) -> None:
    assert scores.confusion.tolist() == confusion_matrix(scores.labels, scores.predictions).tolist()
    share = scores.confusion.diagonal().sum() / scores.confusion.sum()
    assert float(share) == pytest.approx(accuracy_score(scores.labels, scores.predictions))


def test_accuracy_per_class_equals_scikit_learns_recall(scores: Scores) -> None:
    recall = recall_score(scores.labels, scores.predictions, average=None)
    assert scores.per_class_accuracy() == dict(zip(NAMES, map(pytest.approx, recall), strict=True))


def test_a_class_without_images_has_no_accuracy() -> None:
    assert by_hand().per_class_accuracy() == {"ant": 1 / 3, "bee": 1 / 2, "cat": 0, "dog": None}


def test_the_most_confused_pair_counts_both_directions() -> None:
    assert by_hand().most_confused() == {"classes": ["ant", "bee"], "count": 3, "ant → bee": 2, "bee → ant": 1}


def test_without_mistakes_nothing_is_confused() -> None:
    perfect = Scores(torch.eye(4), torch.arange(4), NAMES)
    assert perfect.most_confused() is None
    assert perfect.mistakes(5) == []


def test_mistakes_come_most_confident_first() -> None:
    found = by_hand().mistakes(10)
    assert [(m.index, m.true, m.predicted) for m in found] == [(1, 0, 1), (2, 1, 0), (0, 0, 1), (3, 2, 0)]
    e = 2.718281828459045
    assert [m.probability for m in found] == [pytest.approx(e**x / (e**x + 3)) for x in (3, 2, 1, 1)]
    assert by_hand().mistakes(2) == found[:2]
