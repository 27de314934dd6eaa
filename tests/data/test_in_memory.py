from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import Subset, TensorDataset

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.in_memory import splits_from_objects
from lenet_pl.errors import DataError

DIGITS = load_digits()
LEVELS = (DIGITS.images[:, None] * (255 / 16)).round().astype(np.uint8)
LABELS = DIGITS.target


def part(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    return LEVELS[start:end], LABELS[start:end]


def as_dataset(start: int, end: int) -> TensorDataset:
    return TensorDataset(*map(torch.from_numpy, part(start, end)))


def test_a_part_of_each_class_becomes_the_test_split() -> None:
    found = splits_from_objects(part(0, 1797), test_fraction=0.2)
    assert (len(found.train), len(found.test), found.validation) == (1438, 359, None)
    counts = found.test.labels.bincount() / torch.from_numpy(LABELS).bincount()
    assert float(counts.min()) > 0.19
    assert float(counts.max()) < 0.21
    assert found.classes == tuple("0123456789")


@pytest.mark.parametrize("make", [part, as_dataset])
def test_two_are_training_and_test_and_three_have_validation_between(make: Any) -> None:
    two = splits_from_objects((make(0, 1000), make(1000, 1797)))
    assert (len(two.train), two.validation, len(two.test)) == (1000, None, 797)
    three = splits_from_objects([make(0, 1000), make(1000, 1500), make(1500, 1797)])
    assert three.validation is not None
    assert [len(split) for split in three.splits] == [1000, 500, 297]
    assert torch.equal(three.test.labels, torch.from_numpy(LABELS[1500:]))


def test_class_names_come_from_the_dataset_or_the_caller() -> None:
    dataset: Any = as_dataset(0, 1797)
    dataset.classes = [f"digit {k}" for k in range(10)]
    for given in (dataset, Subset(Subset(dataset, range(1500)), range(1000))):
        assert splits_from_objects(given).classes == tuple(dataset.classes)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert splits_from_objects(dataset, classes=names).classes == tuple(names)


def test_the_data_module_splits_and_records_them() -> None:
    modules = [ImageDataModule((as_dataset(0, 1400), as_dataset(1400, 1797)), val_size=0.25) for _ in range(2)]
    for module in modules:
        module.prepare_data()
        module.setup("fit")
    first, again = modules
    assert (len(first.train_set), len(first.validation_set), len(first.test_set)) == (1050, 350, 397)
    assert first.record is not None
    assert first.record == again.record
    np.testing.assert_allclose(first.preprocess.mean, first.train_set.images.numpy().mean() / 255)
    assert first.data.settings.resize_mode == "pad"


SHIFTED = (LEVELS, LABELS + 1)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([part(0, 9)] * 4, {}, r"^data: got 4 parts; must be training and test images"),
        (SHIFTED, {}, r"^training: got labels 1 to 10 without 0; must be 0 to 9 for 10 classes: renumber"),
        ((LEVELS, LABELS * 0), {}, r"^training: got one class; must be two or more$"),
        (part(0, 1797), {"classes": ["a", "b"]}, r"^training: got label 2 for 2 class names"),
        (part(0, 1797), {"classes": list("abcdefghijkl")}, r"^training: got labels 0 to 9 without 10, 11; must be"),
        (part(0, 1797), {"test_fraction": 1.5}, r"^test_fraction: got 1\.5; must be greater than 0 and less than 1$"),
        (((LEVELS[:8], LABELS[:8]), part(8, 10)), {}, r"^test: got label 8, of which there is no training image"),
        ((part(0, 1000), (LEVELS[:, :, :7, :7], LABELS)), {}, r"^test: got images of shape \(1, 7, 7\); must be"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(data: Any, options: dict[str, Any], message: str) -> None:
    module = ImageDataModule(data, **options)
    with pytest.raises(DataError, match=message) as error:
        module.setup()
    assert "\n" not in str(error.value)
