"""Against simulation and scipy's exact test, never our own formula."""

import numpy as np
import pytest
from conftest import Compose
from sklearn.metrics import confusion_matrix

from lenet_pl.artifacts.chance import Guess, find_guess, what_to_try

RANDOM = np.random.default_rng(0)


def guess_of(true: np.ndarray, predicted: np.ndarray, classes: int) -> Guess | None:
    return find_guess(confusion_matrix(true, predicted, labels=range(classes)).tolist())


@pytest.mark.parametrize(("classes", "images"), [(2, 400), (10, 216), (10, 5000), (47, 2000)])
def test_random_predictions_are_guesses_but_once_in_a_hundred(classes: int, images: int) -> None:
    shares = RANDOM.dirichlet(np.full(classes, 5.0))
    true = RANDOM.choice(classes, images, p=shares)
    found = [guess_of(true, RANDOM.choice(classes, images, p=shares), classes) for _ in range(400)]
    assert 0.97 <= np.mean([one is not None for one in found]) <= 1


def test_the_bound_is_that_of_permutations() -> None:
    """One is told from guessing if and only if few in a hundred permutations are right as often."""
    true = RANDOM.choice(4, 200, p=[0.7, 0.1, 0.1, 0.1])
    told = []
    for learned in np.linspace(0, 0.5, 60):
        predicted = np.where(RANDOM.random(200) < learned, true, RANDOM.choice(4, 200, p=[0.6, 0.2, 0.1, 0.1]))
        right = (predicted == true).sum()
        luck = np.mean([(RANDOM.permutation(true) == predicted).sum() >= right for _ in range(600)])
        if not 0.002 < luck < 0.04:  # what the simulation resolves
            told.append((guess_of(true, predicted, 4) is not None, luck > 0.01))
    assert {guess for guess, _ in told} == {True, False}
    assert all(guess == lucky for guess, lucky in told)


def test_a_constant_answer_is_a_guess_whatever_the_shares() -> None:
    for share in (0.1, 0.5, 0.9, 0.99):
        true = (np.arange(1000) < 1000 * share).astype(int)
        found = guess_of(true, np.ones(1000, int), 2)
        assert found == Guess(1000, int(true.sum()), 1, 1000, true.mean(), no_better=True)
        assert f"accuracy {true.mean():.4f} is at chance level, 1,000 of 1,000" in found.describe(["no", "yes"])


def test_a_few_rare_images_that_are_found_are_no_guess() -> None:
    true = (np.arange(1000) < 30).astype(int)
    few = true * (np.arange(1000) < 5)  # 5 of 30, and no false alarm: accuracy 0.975 beside 0.97 for none
    assert guess_of(true, few, 2) is None


def test_nearly_all_taken_for_one_class_is_next_to_nothing() -> None:
    true = np.arange(5000) % 10
    predicted = np.where(np.arange(5000) % 1000 < 970, 3, true)  # 3 in 100 are right beside the class that is named
    found = guess_of(true, predicted, 10)
    assert found
    assert not found.no_better
    assert found.describe([str(k) for k in range(10)]).startswith("learned next to nothing: ")
    assert guess_of(true, np.where(np.arange(5000) % 1000 < 800, 3, true), 10) is None


@pytest.mark.parametrize("confusion", [[[5, 3], [0, 0]], [[0, 0], [0, 0]], [[8]]])
def test_of_one_class_nothing_can_be_told(confusion: list[list[int]]) -> None:
    assert find_guess(confusion) is None


@pytest.mark.parametrize(
    ("overrides", "steps", "share", "advice"),
    [
        (["optimizer.lr=0.5", "model=lenet5_bn"], 500, 0.1, "try a smaller optimizer.lr (0.001 instead of 0.5)"),
        (
            ["optimizer=sgd", "optimizer.lr=1", "model=lenet5_bn"],
            500,
            0.1,
            "a smaller optimizer.lr (0.05 ",
        ),
        (["optimizer=sgd", "model=lenet_sigmoid"], 500, 0.1, "optimizer=adam, a larger optimizer.lr (it is 0.05) or"),
        (["optimizer.lr=1e-6"], 500, 0.1, "a larger optimizer.lr (it is 1e-06) or model.norm=batch_norm"),
        (["model=lenet1"], 20, 0.1, "try another optimizer.lr (it is 0.001) or more epochs"),
        (["optimizer=rmsprop"], 500, 0.1, "optimizer=adam"),
        (["model=lenet5_1998", "optimizer=sdlm"], 500, 0.1, "another optimizer.lr (it is 0.0005) or optimizer=adam"),
        ([], 500, 0.9, "try loss.class_weights=balanced"),
        (["loss.class_weights=balanced"], 500, 0.9, "try another optimizer.lr"),
    ],
)
def test_advice_is_of_what_is_known(
    overrides: list[str], steps: int, share: float, advice: str, compose: Compose
) -> None:
    settings = compose(*overrides)
    assert advice in what_to_try(settings, Guess(100, 10, 0, 100, share, no_better=True), 10, steps)
