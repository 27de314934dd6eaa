import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compose
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import UserError


def fold(compose: Compose, number: int, of: int, *overrides: str, group: str = "null") -> ImageDataModule:
    return build_datamodule(compose(*overrides, f"data.split.fold={{number:{number},of:{of},group:{group}}}"))


def rows(images: ImageDataset) -> list[int]:
    assert images.rows is not None
    found: list[int] = images.rows.tolist()
    return found


@pytest.mark.parametrize("of", [2, 5, 10])
def test_the_folds_of_digits_are_those_of_scikit_learn_index_by_index(compose: Compose, of: int) -> None:
    labels = load_digits().target
    expected = StratifiedKFold(of, shuffle=True, random_state=1998).split(labels, labels)
    for number, (rest, held_out) in enumerate(expected, 1):
        data = fold(compose, number, of)
        assert rows(data.test_set) == held_out.tolist()
        assert sorted(rows(data.train_set) + rows(data.validation_set)) == rest.tolist()
        assert data.test_set.labels.tolist() == labels[held_out].tolist()


def test_the_folds_stay_the_same_with_new_versions_of_scikit_learn(compose: Compose) -> None:
    digest = hashlib.sha256(b"".join(np.array(rows(fold(compose, k, 5).test_set)).tobytes() for k in range(1, 6)))
    assert digest.hexdigest()[:16] == "708e8d4fad8d4fc3"


def test_statistics_come_from_the_training_images_of_the_fold(compose: Compose) -> None:
    data = fold(compose, 2, 5)
    pixels = data.train_set.images.double() / 255
    assert data.preprocess.mean == pytest.approx([float(pixels.mean())])
    assert data.preprocess.mean != fold(compose, 3, 5).preprocess.mean


def test_official_test_images_are_left_out(compose: Compose) -> None:
    data = fold(compose, 1, 4, "data=fake", "data.num_images=80", "data.test_images=20", "loader.batch_size=8")
    assert (len(data.test_set), len(data.train_set) + len(data.validation_set)) == (20, 60)
    assert data.source.whole is None


def write_folder(place: Path) -> list[str]:
    """Write 48 images of 8 persons and 2 classes; the file name begins with the person."""
    draw = np.random.default_rng(0)
    for label in ("a", "b"):
        (place / label).mkdir(parents=True)
        for person in range(8):
            for number in range(3):
                pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(pixels).save(place / label / f"p{person}_{label}{number}.png")
    return [f"p{person}" for person in range(8)]


FOLDER = ("data=folder", "loader.batch_size=4", "model.image_size=32")


def test_images_of_a_group_stay_in_one_split(compose: Compose, tmp_path: Path) -> None:
    persons = write_folder(tmp_path / "images")
    tested: list[str] = []
    for number in range(1, 5):
        data = fold(compose, number, 4, *FOLDER, f"data.path={tmp_path / 'images'}", group="_")
        splits = [data.train_set, data.validation_set, data.test_set]
        people = [{str(name).rpartition("/")[2].partition("_")[0] for name in images.names} for images in splits]
        assert not people[0] & people[1]
        assert not people[2] & (people[0] | people[1])
        assert sum(len(images) for images in splits) == 48
        tested += people[2]
    assert sorted(tested) == persons


def test_grouped_folds_are_those_of_scikit_learn(compose: Compose, tmp_path: Path) -> None:
    write_folder(tmp_path / "images")
    source = build_datamodule(compose(*FOLDER, f"data.path={tmp_path / 'images'}")).source
    assert source.whole is not None
    groups = [str(name).rpartition("/")[2].partition("_")[0] for name in source.whole.names]
    labels = source.whole.labels.numpy()
    expected = StratifiedGroupKFold(4, shuffle=True, random_state=1998).split(labels, labels, groups)
    for number, (_, held_out) in enumerate(expected, 1):
        data = fold(compose, number, 4, *FOLDER, f"data.path={tmp_path / 'images'}", group="_")
        assert data.test_set.names == [source.whole.names[row] for row in held_out]


def write_arrays(place: Path, groups: "np.ndarray[tuple[int], np.dtype[np.int64]] | None") -> None:
    place.mkdir()
    draw = np.random.default_rng(0)
    for name, count in (("train", 40), ("test", 10)):
        np.save(place / f"{name}_images.npy", draw.integers(0, 256, (count, 8, 8), dtype=np.uint8))
        np.save(place / f"{name}_labels.npy", np.arange(count) % 2)
    if groups is not None:
        np.save(place / "groups.npy", groups)


ARRAYS = ("data=arrays", "loader.batch_size=4", "data.split.val_size=0.2")


def test_arrays_are_grouped_by_a_file(compose: Compose, tmp_path: Path) -> None:
    groups = np.arange(40) // 4
    write_arrays(tmp_path / "arrays", groups)
    data = fold(compose, 1, 5, *ARRAYS, f"data.path={tmp_path / 'arrays'}", group="groups.npy")
    names = [
        {int(groups[row]) for row in rows(images)} for images in (data.train_set, data.validation_set, data.test_set)
    ]
    assert not names[0] & names[1]
    assert not names[2] & (names[0] | names[1])
    assert len(data.test_set) == 8  # of the training images; the official test images are left out


@pytest.mark.parametrize(
    ("given", "group", "line"),
    [
        (None, "groups.npy", "folds_group: {path}/groups.npy does not exist; must be a .npy file with a key per image"),
        (
            np.arange(39),
            "groups.npy",
            "folds_group: {path}/groups.npy has int64 of shape (39,); must be integers or text",
        ),
        (np.arange(40) // 20, "groups.npy", "folds: got 5 for 2 groups of folds_group=groups.npy; must be at most 2"),
        (np.array([None] * 40), "groups.npy", "folds_group: {path}/groups.npy is not a valid .npy file (Object arrays"),
    ],
)
def test_groups_that_do_not_fit_are_one_line(
    compose: Compose, tmp_path: Path, given: "np.ndarray[tuple[int], np.dtype[np.int64]]", group: str, line: str
) -> None:
    write_arrays(tmp_path / "arrays", given)
    with pytest.raises(UserError) as caught:
        fold(compose, 1, 5, *ARRAYS, f"data.path={tmp_path / 'arrays'}", group=group)
    assert str(caught.value).startswith(line.format(path=tmp_path / "arrays"))


@pytest.mark.parametrize(
    ("of", "group", "line"),
    [
        (30, "null", "folds: got 30, but a has 24 images; must be at most 24, or add images"),
        (4, "xyz", "folds_group: got 'xyz', which no file name contains, such as p0_a0.png; must be text that ends"),
        (9, "_", "folds: got 9 for 8 groups of folds_group=_; must be at most 8, or more groups"),
    ],
)
def test_folds_that_do_not_fit_are_one_line(compose: Compose, tmp_path: Path, of: int, group: str, line: str) -> None:
    write_folder(tmp_path / "images")
    with pytest.raises(UserError) as caught:
        fold(compose, 1, of, *FOLDER, f"data.path={tmp_path / 'images'}", group=group)
    assert str(caught.value).startswith(line)


def test_another_split_of_the_same_images_equals_a_new_data_module(compose: Compose) -> None:
    first, second = fold(compose, 1, 5), fold(compose, 2, 5)
    other = first.with_split(second.data.settings.split)
    assert rows(other.train_set) == rows(second.train_set)
    assert other.preprocess.mean == second.preprocess.mean
    assert other.source is first.source
    assert torch.equal(first.test_set.labels, fold(compose, 1, 5).test_set.labels)
