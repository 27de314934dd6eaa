import string
from typing import get_args

import pytest
import torchvision.datasets as tv
from conftest import Compose

from lenet_pl.data.emnist import emnist
from lenet_pl.data.published import PUBLISHED, PublishedDataset
from lenet_pl.settings import EmnistDataSettings, NamedDataSettings

NAMES = get_args(NamedDataSettings.model_fields["name"].annotation)
VARIANTS = get_args(EmnistDataSettings.model_fields["variant"].annotation)
EVERY = [*PUBLISHED.values(), *(emnist(v) for v in VARIANTS)]


def test_settings_accept_exactly_the_published_sets() -> None:
    assert set(NAMES) == set(PUBLISHED)
    assert set(VARIANTS) == set(tv.EMNIST.splits)


@pytest.mark.parametrize("name", [*NAMES, "emnist"])
def test_each_published_set_has_a_configuration(name: str, compose: Compose) -> None:
    assert compose(f"data={name}").data.name == name


@pytest.mark.parametrize("published", EVERY)
def test_everything_has_a_digest(published: PublishedDataset) -> None:
    files = [*published.train, *published.test]
    digests = [f.sha256 for f in files if f.sha256] + ([published.archive.sha256] if published.archive else [])
    assert all(len(d) == 64 and set(d) <= set(string.hexdigits.lower()) for d in digests)
    assert len(set(digests)) == len(digests) == len([f for f in files if f.sha256]) + bool(published.archive)
    assert all(f.sha256 for f in files) or (published.archive and published.archive.sha256)


@pytest.mark.parametrize("name", ["mnist", "fashion", "kmnist"])
def test_file_names_and_folder_equal_torchvision(name: str) -> None:
    theirs = {"mnist": tv.MNIST, "fashion": tv.FashionMNIST, "kmnist": tv.KMNIST}[name]
    ours = PUBLISHED[name]
    assert [f.name for f in (*ours.train, *ours.test)] == [file for file, _ in theirs.resources]
    assert ours.folder == theirs.__name__


def test_qmnist_files_equal_torchvision() -> None:
    ours = PUBLISHED["qmnist"]
    for part, files in (("train", ours.train), ("test", ours.test)):
        assert [ours.url + f.name for f in files] == [url for url, _ in tv.QMNIST.resources[part]]


def test_usps_files_equal_torchvision() -> None:
    ours = PUBLISHED["usps"]
    assert [ours.url + f.name for f in (*ours.train, *ours.test)] == [
        tv.USPS.split_list[part][0] for part in ("train", "test")
    ]


def test_emnist_archive_equals_torchvision() -> None:
    ours = emnist("balanced")
    assert ours.archive
    assert ours.url + ours.archive.name == tv.EMNIST.url


@pytest.mark.parametrize("variant", VARIANTS)
def test_emnist_classes_equal_torchvision(variant: str) -> None:
    assert list(emnist(variant).classes) == [c for c in tv.EMNIST.classes_split_dict[variant] if c != "N/A"]


@pytest.mark.parametrize("variant", ["balanced", "letters", "digits", "mnist"])
def test_emnist_sizes_of_balanced_variants_are_multiples_of_the_classes(variant: str) -> None:
    ours = emnist(variant)
    assert all(size % len(ours.classes) == 0 for size in ours.sizes)


def test_class_names_equal_torchvision() -> None:
    assert list(PUBLISHED["fashion"].classes) == tv.FashionMNIST.classes
    assert list(PUBLISHED["kmnist"].classes) == tv.KMNIST.classes
    assert list(PUBLISHED["mnist"].classes) == [c[0] for c in tv.MNIST.classes]  # "0 - zero"


@pytest.mark.parametrize("published", EVERY)
def test_statistics_have_one_entry_per_channel(published: PublishedDataset) -> None:
    for values in (published.mean, published.std):
        assert values is None or len(values) == published.channels
