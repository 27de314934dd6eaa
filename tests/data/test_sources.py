import gzip
import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose
from sklearn.datasets import load_digits

from lenet_pl.data import sources
from lenet_pl.data.dataset_splits import DatasetSplits
from lenet_pl.data.emnist import emnist
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.published import PUBLISHED, DataFile, PublishedDataset
from lenet_pl.data.sources import load_dataset
from lenet_pl.errors import DataError

PARTS = (6, 3)  # images in the training and the test part
PICTURES = np.random.default_rng(0).integers(0, 256, (sum(PARTS), 28, 28), np.uint8)


def idx(values: np.ndarray, code: int) -> bytes:
    header = struct.pack(f">HBB{values.ndim}i", 0, code, values.ndim, *values.shape)
    return header + values.astype({8: ">u1", 12: ">i4"}[code]).tobytes()


def put(folder: Path, names: list[str], contents: list[bytes]) -> tuple[DataFile, ...]:
    """Write published files and return their descriptions."""
    files = []
    for name, raw in zip(names, contents, strict=True):
        content = gzip.compress(raw)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        files.append(DataFile(name, hashlib.sha256(content).hexdigest()))
    return tuple(files)


def put_idx(
    root: Path, published: PublishedDataset, images: np.ndarray, labels: np.ndarray, code: int = 8
) -> PublishedDataset:
    """The same set with fewer images: its files in the root, and its description."""
    parts: dict[str, Any] = {"sizes": PARTS}
    for part, chosen in (("train", slice(None, PARTS[0])), ("test", slice(PARTS[0], None))):
        names = [file.name for file in getattr(published, part)]
        contents = [idx(images[chosen], 8), idx(labels[chosen], code)]
        parts[part] = put(root / published.folder, names, contents)
    return replace(published, **parts)


def both(source: DatasetSplits) -> ImageDataset:
    return ImageDataset(
        *(torch.cat([getattr(p, key) for p in (source.train, source.test)]) for key in ("images", "labels"))
    )


@pytest.mark.parametrize(("variant", "first"), [("letters", 1), ("digits", 0), ("balanced", 0)])
def test_emnist_is_turned_upright_and_labels_start_at_0(
    variant: str, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Compose
) -> None:
    labels = np.arange(sum(PARTS)) % 10
    tiny = put_idx(tmp_path, emnist(variant), PICTURES.transpose(0, 2, 1), labels + first)
    monkeypatch.setattr(sources, "emnist", {variant: tiny}.__getitem__)
    source = load_dataset(compose("data=emnist", f"data.variant={variant}", f"data_root={tmp_path}").data, 28)
    assert torch.equal(both(source).images[:, 0], torch.from_numpy(PICTURES))
    assert both(source).labels.tolist() == labels.tolist()
    assert (len(source.train), len(source.test)) == PARTS


def test_emnist_letters_that_start_at_0_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Compose
) -> None:
    tiny = put_idx(tmp_path, emnist("letters"), PICTURES, np.arange(sum(PARTS)))
    monkeypatch.setattr(sources, "emnist", {"letters": tiny}.__getitem__)
    with pytest.raises(DataError, match="data=emnist: got labels -1 to 4 for 26 classes"):
        load_dataset(compose("data=emnist", "data.variant=letters", f"data_root={tmp_path}").data, 28)


def test_qmnist_class_is_column_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Compose) -> None:
    rows = np.random.default_rng(1).integers(0, 10**6, (sum(PARTS), 8))
    rows[:, 0] = np.arange(sum(PARTS))
    monkeypatch.setitem(PUBLISHED, "qmnist", put_idx(tmp_path, PUBLISHED["qmnist"], PICTURES, rows, code=12))
    source = load_dataset(compose("data=qmnist", f"data_root={tmp_path}").data, 28)
    assert both(source).labels.tolist() == list(range(sum(PARTS)))
    assert both(source).labels.dtype == torch.int64
    assert torch.equal(both(source).images[:, 0], torch.from_numpy(PICTURES))


@pytest.mark.parametrize(
    ("change", "labels", "message"),
    [
        ({"sizes": (7, 3)}, np.arange(9), "must be 7"),
        ({"channels": 3}, np.arange(9), r"28\) and 6 labels; must be 6 of each, with 3 channels"),
        ({}, np.arange(9) + 2, "labels 8 to 10 for 10 classes"),
    ],
)
def test_a_set_that_differs_from_its_description_is_refused(  # type: ignore[no-untyped-def]
    change, labels, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Compose
) -> None:
    tiny = put_idx(tmp_path, PUBLISHED["kmnist"], PICTURES, labels)
    monkeypatch.setitem(PUBLISHED, "kmnist", replace(tiny, **change))
    with pytest.raises(DataError, match=f"^data=kmnist: .*{message}"):
        load_dataset(compose("data=kmnist", f"data_root={tmp_path}").data, 28)


def test_usps_and_cifar10_come_as_their_formats_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Compose
) -> None:
    lines = b"\n".join(b"%d " % k + b" ".join(b"%d:-0.5" % i for i in range(1, 257)) for k in (1, 10))
    names = [[file.name for file in part] for part in (PUBLISHED["usps"].train, PUBLISHED["usps"].test)]
    train, test = (put(tmp_path / "USPS", part, [lines]) for part in names)
    monkeypatch.setitem(PUBLISHED, "usps", replace(PUBLISHED["usps"], train=train, test=test, sizes=(2, 2)))
    usps = load_dataset(compose("data=usps", f"data_root={tmp_path}").data, 28)
    assert usps.test.labels.tolist() == [0, 9]
    assert usps.train.images.unique().tolist() == [64]
    records = [bytes([k]) + bytes([10 * k]) * 3072 for k in range(6)]
    train = put(tmp_path / "CIFAR10", [f"data_batch_{k}" for k in range(1, 6)], records[1:])
    test = put(tmp_path / "CIFAR10", ["test_batch"], records[:1])
    tiny = replace(PUBLISHED["cifar10"], train=train, test=test, archive=None, sizes=(5, 1))
    monkeypatch.setitem(PUBLISHED, "cifar10", tiny)
    cifar = load_dataset(compose("data=cifar10", f"data_root={tmp_path}").data, 32)
    assert cifar.channels == 3
    assert cifar.train.labels.tolist() == [1, 2, 3, 4, 5]
    assert cifar.train.images[:, 2, 31, 31].tolist() == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("where", ["its file", "another file"])
def test_digits_are_those_of_scikit_learn(where: str, compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    if where == "another file":  # as after a change of scikit-learn's package
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    source, bunch = load_dataset(compose("data=digits").data, 28), load_digits()
    assert source.whole is not None
    assert source.whole.labels.tolist() == bunch.target.tolist()
    assert (source.whole.images[:, 0].numpy() == np.rint(bunch.images / 16 * 255)).all()
    everything = both(source)
    ours = np.column_stack([everything.labels, everything.images.flatten(1)])
    theirs = np.column_stack([bunch.target, np.rint(bunch.data / 16 * 255)])
    assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_a_fifth_of_each_digit_is_the_test_part(compose: Compose) -> None:
    source = load_dataset(compose("data=digits").data, 28)
    wanted = np.bincount(load_digits().target) / 5
    assert np.abs(source.test.labels.bincount().numpy() - wanted).max() < 1
    assert len(source.test) == 359


def test_fake_is_a_function_of_its_seed(compose: Compose) -> None:
    first, again = (load_dataset(compose("data=fake").data, 28) for _ in range(2))
    other = load_dataset(compose("data=fake", "data.seed=1").data, 28)
    assert torch.equal(both(first).images, both(again).images)
    assert not torch.equal(both(first).images, both(other).images)


@pytest.mark.parametrize("channels", [1, 3])
def test_fake_has_the_shape_asked_for_and_classes_that_a_mean_tells_apart(channels: int, compose: Compose) -> None:
    sizes = ("data.num_images=40", "data.test_images=8", "data.classes=4", "data.image_size=9")
    source = load_dataset(compose("data=fake", f"data.channels={channels}", *sizes).data, 28)
    assert source.train.images.shape == (40, channels, 9, 9)
    assert source.test.images.shape == (8, channels, 9, 9)
    assert source.train.labels.bincount().tolist() == [10] * 4
    means = torch.stack([source.train.images[source.train.labels == k].float().mean(0) for k in range(4)])
    distances = torch.cdist(source.test.images.float().flatten(1), means.flatten(1))
    assert distances.argmin(1).tolist() == source.test.labels.tolist()


@pytest.mark.skipif("LENET_PL_DATA" not in os.environ, reason="needs MNIST in the folder that LENET_PL_DATA names")
def test_mnist_is_read_where_it_is(compose: Compose) -> None:
    settings = compose("data=mnist", f"data_root={os.environ.get('LENET_PL_DATA')}", "data.download=false")
    source = load_dataset(settings.data, 28)
    assert source.train.images.shape == (60_000, 1, 28, 28)
    assert source.test.images.shape == (10_000, 1, 28, 28)
    assert source.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = source.train.images.numpy()
    mean = pixels.mean() / 255
    std = (np.square(pixels, dtype=np.uint16).mean() / 255**2 - mean**2) ** 0.5
    assert [round(float(v), 4) for v in (mean, std)] == [*(source.mean or ()), *(source.std or ())]
