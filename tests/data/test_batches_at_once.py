from types import SimpleNamespace

import pytest
import torch

from lenet_pl.data.augment import Augment
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.loader import BatchLoader
from lenet_pl.data.mixing import Mixing
from lenet_pl.data.transform import Preprocess
from lenet_pl.settings import AugmentSettings
from lenet_pl.settings.choices import read_choice

MOVES = {"degrees": 10, "translate": 0.1, "scale": 0.1, "crop_padding": 1, "hflip": 0.5, "brightness": 0.2}
MOVES |= {"contrast": 0.2, "saturation": 0.2, "random_erasing": 0.5}
MORE = {"elastic_alpha": 3, "hue": 0.2, "rand_augment": 1, "gaussian_blur": 0.5, "noise": 0.1, "cutout": 2}
MOVING, EVERYTHING = (
    Augment(AugmentSettings(**read_choice("augment", "none", changes))) for changes in (MOVES, MOVES | MORE)
)
CUDA = SimpleNamespace(type="cuda")


def loader_of(batch_size: int = 4, augment: Augment | None = None, shuffle: bool = True, **more: object) -> BatchLoader:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (50, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images = ImageDataset(pixels, torch.arange(50))
    preprocess = Preprocess(12, "pad", [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    return BatchLoader(images, batch_size, preprocess, augment=augment, shuffle=shuffle, seed=1, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("first", [0, 1, 7, 12])
@pytest.mark.parametrize("augment", [None, MOVING, EVERYTHING])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_made_together_are_those_made_one_by_one(
    first: int, augment: Augment | None, shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixing = Mixing(mixup=0.5, cutmix=1) if augment is EVERYTHING else None
    loader = loader_of(augment=augment, shuffle=shuffle, epoch=lambda: 3, mixing=mixing)
    monkeypatch.setattr(BatchLoader, "steps_at_once", 1)
    alone = list(loader.batches(first))
    monkeypatch.setattr(BatchLoader, "steps_at_once", 5)
    together = list(loader.batches(first))
    assert [len(batch.labels) for batch in together] == [4] * (12 - first) + [2]
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.images, other.images)
        assert (one.mixed is None) == (mixing is None)
        if one.mixed and other.mixed:
            assert torch.equal(one.mixed.others, other.mixed.others)
        assert one.images.stride() == other.images.stride()
        assert one.loss_scale == other.loss_scale == 1


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_short_last_group_ends_the_epoch(drop_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BatchLoader, "steps_at_once", 6)
    loader = loader_of(drop_last=drop_last, epoch=lambda: 0)
    assert sum(len(batch.labels) for batch in loader) == (48 if drop_last else 50)
    assert len(list(loader)) == len(loader)


def test_small_batches_without_augmentation_are_made_together_on_a_cpu() -> None:
    for batch_size, count in ((4, 20), (64, 18), (256, 4), (1024, 1), (20_000, 1)):
        assert loader_of(batch_size).steps_at_once == count  # of 3 × 12 × 12 numbers per image
    assert loader_of(augment=MOVING).steps_at_once == 1
    assert loader_of(world_size=2).steps_at_once == 1


def test_batches_are_made_together_on_a_gpu() -> None:
    for batch_size, count in ((4, 20), (1024, 8), (8192, 1), (20_000, 1)):
        loader = loader_of(batch_size)
        loader.device = CUDA  # type: ignore[assignment]
        assert loader.steps_at_once == count
    loader.world_size = 2
    assert loader.steps_at_once == 1
    odd = loader_of(1)
    odd.device, odd.preprocess.image_size = CUDA, 13  # type: ignore[assignment]
    assert odd.steps_at_once == 1  # a batch would not be aligned
