from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lenet_pl.data.augment import Augment
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.loader import BatchLoader
from lenet_pl.data.transform import Preprocess
from lenet_pl.runtime.seeding import keyed_generator
from lenet_pl.settings import AugmentSettings
from lenet_pl.settings.choices import read_choice

COUNT = 50
# label = index, and the picture shows it
IMAGES = ImageDataset(
    torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 6, 6).contiguous(), torch.arange(COUNT)
)
MOVES = Augment(AugmentSettings(**read_choice("augment", "none", {"degrees": 30, "brightness": 0.5})))


def loader(
    batch_size: int = 8, epoch: int | Callable[[], int] = 0, images: ImageDataset = IMAGES, **more: Any
) -> BatchLoader:
    tell = epoch if callable(epoch) else lambda: epoch
    return BatchLoader(images, batch_size, Preprocess(6, "pad", [0.0], [1.0]), epoch=tell, **more)


def labels(batches: BatchLoader) -> list[list[int]]:
    return [batch.labels.tolist() for batch in batches]


def flat(lists: list[list[int]]) -> list[int]:
    return [value for one in lists for value in one]


def same(first: BatchLoader, second: BatchLoader) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in zip(first, second, strict=True)
    )


SHUFFLED: dict[str, Any] = {"shuffle": True, "augment": MOVES}


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 10, 49, 50])
def test_len_is_the_number_of_batches(batch_size: int, drop_last: bool) -> None:
    batches = loader(batch_size, drop_last=drop_last)
    assert len(list(batches)) == len(batches) == (COUNT // batch_size if drop_last else -(-COUNT // batch_size))


def test_every_image_comes_once_per_epoch() -> None:
    for shuffle in (False, True):
        assert sorted(flat(labels(loader(shuffle=shuffle)))) == list(range(COUNT))


def test_last_short_batch_is_kept_or_dropped() -> None:
    assert [len(b) for b in labels(loader(8))] == [8] * 6 + [2]
    assert [len(b) for b in labels(loader(8, drop_last=True))] == [8] * 6


def test_without_shuffle_the_order_is_that_of_the_set() -> None:
    assert flat(labels(loader(epoch=3, seed=5))) == list(range(COUNT))


def test_images_stay_with_their_labels() -> None:
    for batch in loader(shuffle=True):
        assert torch.equal((batch.images[:, 0, 0, 0] * 255).round().long(), batch.labels)


def test_batches_are_those_of_the_transform() -> None:
    batch = next(iter(loader(5)))
    assert torch.equal(batch.images, Preprocess(6, "pad", [0.0], [1.0])(IMAGES.images[:5]))


def test_batches_depend_on_seed_epoch_and_step_alone() -> None:
    first = loader(seed=1, epoch=2, **SHUFFLED)
    for used in (first, loader(seed=1, epoch=2, **SHUFFLED)):
        torch.manual_seed(99)
        next(iter(used))  # an epoch that was broken off
        assert same(first, used)


def test_iterating_leaves_the_random_state_of_the_run_alone() -> None:
    before = torch.get_rng_state()
    list(loader(**SHUFFLED))
    assert torch.equal(torch.get_rng_state(), before)


def test_two_iterations_at_once_do_not_disturb_each_other() -> None:
    batches = loader(**SHUFFLED)
    pairs = list(zip(batches, batches, strict=True))
    assert all(torch.equal(a.images, b.images) for a, b in pairs)


def test_epochs_and_seeds_differ_in_order_and_in_transforms() -> None:
    for shuffle in (True, False):
        first = loader(shuffle=shuffle, augment=MOVES)
        for other in (loader(epoch=1, shuffle=shuffle, augment=MOVES), loader(seed=1, shuffle=shuffle, augment=MOVES)):
            assert (labels(first) != labels(other)) == shuffle
            assert not same(first, other)


def test_the_epoch_is_asked_for_at_each_pass() -> None:
    now = [0]
    batches = loader(epoch=lambda: now[0], shuffle=True)
    first = labels(batches)
    now[0] = 1
    assert labels(batches) == labels(loader(epoch=1, shuffle=True)) != first


def test_steps_draw_different_transforms() -> None:
    plain = ImageDataset(IMAGES.images[7:8].expand(16, -1, -1, -1), torch.zeros(16, dtype=torch.int64))
    first, second = loader(8, images=plain, augment=MOVES)
    assert not torch.equal(first.images, second.images)


@pytest.mark.parametrize(("batch_size", "ranks"), [(8, 2), (10, 3), (5, 5)])
def test_ranks_divide_each_batch(batch_size: int, ranks: int) -> None:
    whole = labels(loader(batch_size, shuffle=True))
    parts = [labels(loader(batch_size, shuffle=True, rank=rank, world_size=ranks)) for rank in range(ranks)]
    assert [sorted(flat(step)) for step in map(list, zip(*parts, strict=True))] == [sorted(step) for step in whole]


def test_ranks_draw_different_transforms() -> None:
    plain = ImageDataset(IMAGES.images[7:8].expand(8, -1, -1, -1), torch.zeros(8, dtype=torch.int64))
    first, second = (next(iter(loader(8, images=plain, augment=MOVES, rank=rank, world_size=2))) for rank in (0, 1))
    assert not torch.equal(first.images, second.images)


@pytest.mark.parametrize("count", [41, 42])
def test_no_rank_gets_an_empty_batch(count: int) -> None:
    for rank in range(3):
        assert all(
            labels(loader(8, images=IMAGES[:count], rank=rank, world_size=3))
        )  # augmentation stops at one, and its mean loss is NaN


def numbers(*key: Any) -> Tensor:
    return torch.rand(4, generator=keyed_generator(*key))


def test_generators_differ_with_every_part_of_their_key() -> None:
    keys = [("order", 0, 1), ("order", 1, 0), ("order", 0, 2), ("order", 10), ("order", 1, 0, 0), ("augment", 0, 1)]
    assert len({tuple(numbers(*key).tolist()) for key in keys}) == len(keys)
    assert torch.equal(numbers(*keys[0]), numbers(*keys[0]))


@pytest.mark.parametrize("done", [0, 1, 3, 100])
def test_finished_batches_are_not_made_again(done: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, made = labels(loader(batch_size=4, **SHUFFLED)), []
    resize = Preprocess.resize
    monkeypatch.setattr(Preprocess, "resize", lambda self, images: made.append(len(images)) or resize(self, images))
    assert labels(loader(batch_size=4, **SHUFFLED, first=lambda: done)) == whole[done:]
    assert len(made) == len(whole[done:])


def test_a_batch_is_made_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    resize = Preprocess.resize
    monkeypatch.setattr(Preprocess, "resize", lambda self, images: made.append(len(images)) or resize(self, images))
    monkeypatch.setattr("lenet_pl.data.loader.NUMBERS_AT_ONCE", 2 * 8 * 6**2)
    batches = iter(loader())
    assert made == []
    next(batches)
    assert made == [16]  # two batches at once
