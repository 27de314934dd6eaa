import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.split import split
from lenet_pl.errors import SettingError
from lenet_pl.settings import SplitSettings

METHODS = ["last", "stratified", "random"]
DIGITS = torch.from_numpy(load_digits().target).long()
UNEVEN = torch.tensor([0] * 500 + [1] * 77 + [2] * 30 + [4] * 3)  # no image of class 3


def divide(labels: Tensor, method: str, validation: float | int) -> tuple[Tensor, Tensor]:
    return split(labels, SplitSettings(method=method, val_size=validation, fold=None))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("labels", [DIGITS, UNEVEN])
@pytest.mark.parametrize("validation", [100, 0.15])
def test_split_has_the_size_asked_for_and_takes_each_image_once(
    method: str, labels: Tensor, validation: float | int
) -> None:
    train, chosen = divide(labels, method, validation)
    assert len(chosen) == (validation if validation == 100 else round(len(labels) * validation))
    assert torch.cat([train, chosen]).sort().values.tolist() == list(range(len(labels)))


@pytest.mark.parametrize("method", METHODS)
def test_split_is_ascending(method: str) -> None:
    for indices in divide(DIGITS, method, 0.2):
        assert (indices.diff() > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_split_is_the_same_whatever_the_seed_of_the_run(method: str) -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        results.append(divide(DIGITS, method, 300)[1])
    assert torch.equal(*results)


@pytest.mark.parametrize("method", METHODS)
def test_split_leaves_the_random_state_of_the_run_alone(method: str) -> None:
    before = torch.get_rng_state()
    divide(DIGITS, method, 300)
    assert torch.equal(torch.get_rng_state(), before)


def test_last_takes_the_last_images() -> None:
    assert divide(DIGITS, "last", 3)[1].tolist() == [1794, 1795, 1796]


def test_random_does_not_take_neighbours() -> None:
    assert (divide(DIGITS, "random", 300)[1].diff() > 1).any()


@pytest.mark.parametrize("labels", [DIGITS, UNEVEN, UNEVEN.flip(0)])
@pytest.mark.parametrize("count", [1, 2, 50, 123, 500])
def test_stratified_shares_are_proportional_within_one_image(labels: Tensor, count: int) -> None:
    _, chosen = divide(labels, "stratified", count)
    exact = labels.bincount() * count / len(labels)
    assert ((labels[chosen].bincount(minlength=len(exact)) - exact).abs() < 1).all()


@pytest.mark.parametrize("labels", [DIGITS, UNEVEN])
def test_stratified_shares_equal_scikit_learn_within_one_image(labels: Tensor) -> None:
    _, chosen = divide(labels, "stratified", 123)
    _, theirs = train_test_split(labels.numpy(), test_size=123, stratify=labels.numpy(), random_state=0)
    assert np.abs(labels[chosen].bincount().numpy() - np.bincount(theirs)).max() <= 1


def test_stratified_shares_equal_scikit_learn_where_they_come_out_even() -> None:
    labels = torch.arange(1000) % 10
    _, chosen = divide(labels, "stratified", 0.25)
    _, theirs = train_test_split(labels.numpy(), test_size=250, stratify=labels.numpy(), random_state=0)
    assert labels[chosen].bincount().tolist() == np.bincount(theirs).tolist() == [25] * 10


def test_stratified_does_not_take_the_first_images_of_a_class() -> None:
    _, chosen = divide(UNEVEN, "stratified", 0.5)
    assert not torch.equal(chosen[:250], torch.arange(250))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("validation", [10, 11, 60_000, 0.01, 0.99])
def test_split_that_leaves_one_side_empty_is_refused(method: str, validation: float | int) -> None:
    with pytest.raises(SettingError, match=r"^data\.split\.val_size: .* of 10 training images; must be 1 to 9"):
        divide(torch.arange(10) % 2, method, validation)


def test_index_takes_images_with_their_labels() -> None:
    images = ImageDataset(torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1), torch.arange(5) * 10)
    for index in (torch.tensor([3, 1]), slice(1, 4, 2)):
        chosen = images[index]
        assert (chosen.images.flatten() * 10).tolist() == chosen.labels.tolist() == images.labels[index].tolist()
    assert len(images) == 5
