import gzip
import itertools
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import FASHION, Compose, needs_fashion
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import SettingError


@pytest.fixture(scope="module")
def digits(compose: Compose) -> ImageDataModule:
    return build_datamodule(compose("data=digits", "loader.batch_size=64"))


@pytest.fixture(scope="module")
def fashion(compose: Compose) -> ImageDataModule:
    return build_datamodule(compose("data=fashion", "data_root=/nowhere", "data.download=false"))


def parts(data: ImageDataModule) -> list[ImageDataset]:
    return [data.train_set, data.validation_set, data.test_set]


def counted(*sets: ImageDataset) -> Counter[tuple[int, bytes]]:
    """How often each image occurs with each label."""
    return Counter((k, i.tobytes()) for s in sets for k, i in zip(s.labels.tolist(), s.images.numpy(), strict=True))


def attach(data: ImageDataModule, rank: int = 0, ranks: int = 1, epoch: int = 0) -> ImageDataModule:
    """Give the data module what it asks a trainer for."""
    progress = SimpleNamespace(
        epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=epoch)),
        epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=0))),
    )
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        global_rank=rank,
        world_size=ranks,
        fit_loop=progress,
        lightning_module=SimpleNamespace(step_in_epoch=0),
        overfit_batches=0.0,
    )
    return data


@pytest.mark.parametrize("method", ["last", "stratified", "random"])
def test_every_construction_and_every_seed_splits_the_same(method: str, compose: Compose) -> None:
    first, second = (
        build_datamodule(compose("data=digits", f"data.split.method={method}", f"seed={seed}")) for seed in (0, 1)
    )
    for one, other in zip(parts(first), parts(second), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_setup_and_loaders_leave_the_split_alone(digits: ImageDataModule) -> None:
    before = counted(digits.train_set)
    for stage in ("fit", "fit", "test"):
        digits.prepare_data()
        digits.setup(stage)
        list(itertools.chain(*attach(digits).train_dataloader()))
    assert counted(digits.train_set) == before


def test_train_and_validation_of_digits_never_contain_test_images(digits: ImageDataModule) -> None:
    assert [len(part) for part in parts(digits)] == [1438 - 216, 216, 359]
    assert counted(digits.train_set, digits.validation_set) == counted(digits.source.train)
    assert not counted(digits.train_set, digits.validation_set) & counted(digits.test_set)


@needs_fashion
def test_fashion_has_55000_5000_and_10000_images(fashion: ImageDataModule) -> None:
    assert [len(part) for part in parts(fashion)] == [55_000, 5_000, 10_000]
    assert fashion.validation_set.labels.bincount().tolist() == [500] * 10


def fashion_file(name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((FASHION / f"{name}-ubyte.gz").read_bytes()), np.uint8, offset=header)


@needs_fashion
def test_train_and_validation_of_fashion_are_its_training_files_and_test_its_test_files(
    fashion: ImageDataModule,
) -> None:
    for part, sets in (("train", parts(fashion)[:2]), ("t10k", parts(fashion)[2:])):
        images = fashion_file(f"{part}-images-idx3", 16).reshape(-1, 1, 28, 28)
        labels = fashion_file(f"{part}-labels-idx1", 8)
        assert counted(*sets) == Counter((k, i.tobytes()) for k, i in zip(labels.tolist(), images, strict=True))


@needs_fashion
def test_recorded_statistics_of_fashion_are_those_of_its_pixels(fashion: ImageDataModule) -> None:
    pixels = fashion_file("train-images-idx3", 16)
    mean = pixels.mean() / 255
    std = (np.square(pixels, dtype=np.uint16).mean() / 255**2 - mean**2) ** 0.5
    assert (fashion.preprocess.mean, fashion.preprocess.std) == ([0.2860], [0.3530])
    assert [round(float(v), 4) for v in (mean, std)] == [0.2860, 0.3530]


def test_statistics_come_from_training_images_alone(digits: ImageDataModule) -> None:
    pixels = digits.train_set.images.numpy() / 255
    np.testing.assert_allclose([*digits.preprocess.mean, *digits.preprocess.std], [pixels.mean(), pixels.std()])


def test_class_weights_equal_scikit_learn(digits: ImageDataModule) -> None:
    wanted = compute_class_weight("balanced", classes=np.arange(10), y=digits.train_set.labels.numpy())
    assert len(set(wanted)) > 1
    np.testing.assert_allclose(digits.class_weights(), wanted, rtol=1e-6)


def test_batch_larger_than_the_training_part_is_refused(compose: Compose) -> None:
    sizes = ("data=fake", "data.num_images=40", "data.split.val_size=10")
    with pytest.raises(SettingError, match=r"^loader\.batch_size: got 31 for 30 .*; must be 1 to 30$"):
        build_datamodule(compose(*sizes, "loader.batch_size=31"))
    assert len(attach(build_datamodule(compose(*sizes, "loader.batch_size=30"))).train_dataloader()) == 1


def test_loaders_give_each_image_of_their_part_once_at_the_size_of_the_model(digits: ImageDataModule) -> None:
    attach(digits)
    loaders = digits.train_dataloader(), digits.val_dataloader(), digits.test_dataloader()
    size = digits.preprocess.image_size
    for loader, part in zip(loaders, parts(digits), strict=True):
        batches = list(loader)
        assert torch.cat([b.labels for b in batches]).bincount().tolist() == part.labels.bincount().tolist()
        assert {b.images.shape[1:] for b in batches} == {(1, size, size)} == {digits.example_input().shape[1:]}


def test_validation_and_test_are_neither_shuffled_nor_augmented(compose: Compose) -> None:
    data = attach(build_datamodule(compose("data=digits", "augment=affine")))
    for loader, part in ((data.val_dataloader(), data.validation_set), (data.test_dataloader(), data.test_set)):
        torch.testing.assert_close(torch.cat([b.images for b in loader]), data.preprocess(part.images))
        assert torch.equal(torch.cat([b.labels for b in loader]), part.labels)


def test_training_is_augmented_and_changes_with_the_epoch(compose: Compose) -> None:
    data = build_datamodule(compose("data=digits", "augment=affine", "loader.shuffle=false"))
    first, second = (next(iter(attach(data, epoch=epoch).train_dataloader())) for epoch in (0, 1))
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.images, second.images)
    assert not torch.allclose(first.images, data.preprocess(data.train_set.images[: len(first.labels)]))


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_together_score_each_image_once_in_order(ranks: int, digits: ImageDataModule) -> None:
    batches = [b for rank in range(ranks) for b in attach(digits, rank, ranks).test_dataloader()]
    assert torch.equal(torch.cat([b.labels for b in batches]), digits.test_set.labels)


def test_ranks_together_train_on_each_image_once(digits: ImageDataModule) -> None:
    batches = [b for rank in range(2) for b in attach(digits, rank, 2).train_dataloader()]
    assert torch.cat([b.labels for b in batches]).bincount().tolist() == digits.train_set.labels.bincount().tolist()


def test_folder_with_a_test_part_keeps_it_apart(tmp_path: Path, compose: Compose) -> None:
    for part, level in (("train", 10), ("test", 200)):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(10):
                Image.new("L", (8, 8), level + i).save(tmp_path / part / name / f"{i}.png")
    data = build_datamodule(compose("data=folder", f"data.path={tmp_path}", "loader.batch_size=8"))
    assert max(data.train_set.images.max(), data.validation_set.images.max()) < 100 <= data.test_set.images.min()
    assert data.classes == ("cat", "dog")
