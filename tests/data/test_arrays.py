import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.datasets import load_digits

from lenet_pl.data.arrays import read_arrays
from lenet_pl.data.loader import PREFETCH_BATCHES, BatchLoader
from lenet_pl.data.transform import Preprocess, pixel_statistics
from lenet_pl.errors import DataError
from lenet_pl.settings import ArraysDataSettings
from lenet_pl.settings.compose import conf_dir

COUNT = 1500  # of the 1,797 digits; the rest is the test part


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Real digits as a user would save them."""
    digits = load_digits()
    images, labels = np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target
    for part, rows in (("train", slice(COUNT)), ("test", slice(COUNT, None))):
        np.save(tmp_path / f"{part}_images.npy", images[rows])
        np.save(tmp_path / f"{part}_labels.npy", labels[rows].astype(np.uint8))
    return tmp_path


def settings(path: Path, **changes: Any) -> ArraysDataSettings:
    defaults = OmegaConf.load(conf_dir() / "data" / "arrays.yaml")
    return ArraysDataSettings(**{**OmegaConf.to_container(defaults), "path": str(path), **changes})


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_labels_and_classes_are_those_that_were_saved(folder: Path, in_memory: bool) -> None:
    train, test, classes = read_arrays(settings(folder, in_memory=in_memory))
    digits = load_digits()
    assert train.array.shape == (COUNT, 1, 8, 8)
    assert (train.images[:, 0].numpy() == np.round(digits.images[:COUNT] * (255 / 16))).all()
    assert (test.labels.numpy() == digits.target[COUNT:]).all()
    assert test.labels.dtype == torch.int64
    assert classes == tuple("0123456789")


def test_colour_comes_last_on_disk_and_first_in_torch(folder: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
    for part in ("train", "test"):
        np.save(folder / f"{part}_images.npy", colour)
        np.save(folder / f"{part}_labels.npy", np.arange(30) % 3)
    (folder / "classes.txt").write_text("rot\ngrün\nblau\n", encoding="utf-8")
    train, _, classes = read_arrays(settings(folder))
    assert (train.images.numpy() == colour.transpose(0, 3, 1, 2)).all()
    assert classes == ("rot", "grün", "blau")


def test_an_epoch_from_disk_is_the_epoch_from_memory(folder: Path) -> None:
    epochs = []
    for in_memory in (True, False):
        train, _, _ = read_arrays(settings(folder, in_memory=in_memory))
        part = train.subset(torch.arange(3, COUNT, 2))
        preprocess = Preprocess(8, "pad", *pixel_statistics(part))
        epochs.append(list(BatchLoader(part, 64, preprocess, shuffle=True, seed=7)))
    assert len(epochs[0]) == 12
    for ours, other in zip(*epochs, strict=True):
        assert torch.equal(ours.images, other.images)
        assert torch.equal(ours.labels, other.labels)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice about files")
def test_the_system_is_told_of_each_image_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda file, start, size, advice: told.append((start, size)))
    train, _, _ = read_arrays(settings(folder))
    part = train.subset(torch.arange(0, COUNT, 3))
    batches = iter(BatchLoader(part, 50, Preprocess(8, "pad", [0.5], [1.0]), shuffle=True))
    next(batches)
    assert len(told) == 50 * (PREFETCH_BATCHES + 1)
    list(batches)
    content = (folder / "train_images.npy").read_bytes()
    images = {content[start : start + size] for start, size in told}
    assert images == {image.numpy().tobytes() for image in part.images}


def broken(folder: Path, what: str) -> None:
    images, labels = folder / "train_images.npy", folder / "train_labels.npy"
    digits = np.load(images)
    if what == "absent":
        images.unlink()
    elif what == "cut":
        images.write_bytes(images.read_bytes()[:-100])
    elif what == "text":
        images.write_text("no array")
    elif what == "pickle":
        np.save(labels, np.array([{"code": 1}] * COUNT, dtype=object), allow_pickle=True)
    elif what == "float":
        np.save(images, digits / 255)
    elif what == "flat":
        np.save(images, digits.reshape(COUNT, 64))
    elif what == "not square":
        np.save(images, digits[:, :6])
    elif what == "two channels":
        np.save(images, np.stack([digits, digits], 3))
    elif what == "empty":
        np.save(images, digits[:0])
        np.save(labels, np.zeros(0, np.int64))
    elif what == "fewer labels":
        np.save(labels, np.zeros(COUNT - 1, np.int64))
    elif what == "negative label":
        np.save(labels, np.full(COUNT, -1))
    elif what == "huge label":
        np.save(labels, np.full(COUNT, 2**63, np.uint64))
    elif what == "names in another encoding":
        (folder / "classes.txt").write_bytes("naïve\nzwölf\n".encode("latin-1"))
    elif what == "float labels":
        np.save(labels, np.zeros(COUNT))
    elif what == "other size":
        np.save(folder / "test_images.npy", np.zeros((297, 9, 9), np.uint8))
    else:
        (folder / "classes.txt").write_text("only one\n")


def test_a_file_in_place_of_the_folder_is_named(folder: Path) -> None:
    file = folder / "train_images.npy"
    with pytest.raises(DataError) as error:
        read_arrays(settings(file))
    assert str(error.value).startswith(f"data.path: {file} is not a folder; must be a folder with train_images.npy, ")


@pytest.mark.parametrize(
    "what",
    [
        *("absent", "cut", "text", "pickle", "float", "flat", "not square", "two channels", "empty"),
        *(
            "fewer labels",
            "negative label",
            "float labels",
            "other size",
            "names",
            "huge label",
            "names in another encoding",
        ),
    ],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_what_does_not_fit_is_refused_in_one_line(folder: Path, what: str, in_memory: bool) -> None:
    broken(folder, what)
    with pytest.raises(DataError) as error:
        read_arrays(settings(folder, in_memory=in_memory))
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert "must " in str(error.value) or "not a valid .npy file" in str(error.value)
