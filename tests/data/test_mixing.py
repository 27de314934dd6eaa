import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import CutMix

from lenet_pl.batch import Batch, MixedLabels
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.mixing import Mixing, beta, mix, paste
from lenet_pl.runtime.seeding import keyed_generator


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int = 2000, height: int = 6, width: int = 8) -> Batch:
    """Images all of whose pixels are their own number, which is their label, too."""
    labels = torch.arange(count)
    return Batch(labels.float().view(-1, 1, 1, 1).expand(-1, 1, height, width).contiguous(), labels)


def mixed_labels(batch: Batch) -> MixedLabels:
    assert batch.mixed is not None
    return batch.mixed


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_weights_have_the_beta_distribution(alpha: float) -> None:
    drawn = beta(alpha, 20_000, seeded())
    places = np.linspace(0.05, 0.95, 19)
    found = np.array([(drawn <= place).double().mean() for place in places])
    np.testing.assert_allclose(found, stats.beta(alpha, alpha).cdf(places), atol=0.015)


def test_mixup_is_the_weighted_mean_of_two_images() -> None:
    mixed = Mixing(mixup=1.0)(numbered(), seeded())
    other = mixed_labels(mixed)
    wanted = other.weight * mixed.labels + (1 - other.weight) * other.others
    torch.testing.assert_close(mixed.images, wanted.view(-1, 1, 1, 1).expand_as(mixed.images))
    assert other.weight.min() >= 0.5
    assert stats.kstest(other.weight.double().numpy(), stats.uniform(0.5, 0.5).cdf).pvalue > 0.001  # Beta(1, 1), folded


def test_mix_is_the_formula() -> None:
    images, others = torch.rand(2, 5, 1, 2, 2, generator=seeded()).numpy()
    weight = np.linspace(0, 1, 5, dtype=np.float32)
    wanted = np.stack([w * a + (1 - w) * b for a, b, w in zip(images, others, weight, strict=True)])
    ours = mix(*map(torch.from_numpy, (images, others, weight)))
    np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_partners_are_a_permutation_and_weights_independent() -> None:
    mixed = Mixing(mixup=1.0)(numbered(), seeded())
    other = mixed_labels(mixed)
    both = torch.cat([mixed.labels, other.others])
    assert torch.equal(both.bincount(), torch.full((2000,), 2))  # as itself, and as the partner of one
    assert len(other.weight.unique()) > 1900


def test_cutmix_keeps_the_fraction_that_the_weight_tells() -> None:
    mixed = Mixing(cutmix=1.0)(numbered(), seeded())
    other = mixed_labels(mixed)
    kept = (mixed.images == mixed.labels.view(-1, 1, 1, 1)).flatten(1).double().mean(1).float()
    pasted = (mixed.images == other.others.view(-1, 1, 1, 1)).flatten(1).double().mean(1).float()
    apart = mixed.labels != other.others
    torch.testing.assert_close(kept[apart], other.weight[apart])
    torch.testing.assert_close(kept[apart] + pasted[apart], torch.ones(int(apart.sum())))


def test_pasting_equals_torchvision() -> None:
    theirs = CutMix(num_classes=2)
    images, others = torch.rand(2, 200, 3, 9, 14, generator=seeded())
    area, draws = torch.rand(200, generator=seeded(1)), torch.rand(200, 2, generator=seeded(2))
    ours, kept = paste(images, others, area, draws)
    for n in range(200):
        half = 0.5 * np.sqrt(1 - float(area[n]))
        x, y = int(draws[n, 0] * 14), int(draws[n, 1] * 9)
        x1, x2 = max(x - int(half * 14), 0), min(x + int(half * 14), 14)
        y1, y2 = max(y - int(half * 9), 0), min(y + int(half * 9), 9)
        pair = torch.stack([images[n], others[n]])
        box = {"labels": None, "batch_size": 2, "box": (x1, y1, x2, y2)}
        assert torch.equal(ours[n], theirs.transform(pair, box)[0])
        assert float(kept[n]) == pytest.approx(1 - (x2 - x1) * (y2 - y1) / (14 * 9), abs=1e-6)


def test_with_both_each_image_gets_one_of_them() -> None:
    mixed = Mixing(mixup=1.0, cutmix=1.0)(numbered(), seeded())
    other = mixed_labels(mixed)
    cut = (mixed.images == mixed.images.round()).flatten(1).all(1)
    assert 0.45 < float(cut.double().mean()) < 0.56
    mean = mixed.images.double().mean((1, 2, 3)).float()
    torch.testing.assert_close(mean, other.weight * mixed.labels + (1 - other.weight) * other.others)


def test_the_generator_alone_decides_and_nothing_is_overwritten() -> None:
    batch = numbered(32)
    before = batch.images.clone()
    one, again, other = (Mixing(0.4, 1.0)(batch, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.images, again.images)
    assert torch.equal(mixed_labels(one).weight, mixed_labels(again).weight)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(batch.images, before)


def test_batches_still_unpack_as_images_and_labels() -> None:
    data = ImageDataModule("digits", batch_size=64, augment={"mixup": 1.0, "degrees": 5})
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    images, labels = batch
    assert torch.equal(images, batch[0])
    assert torch.equal(labels, batch[1])
    other = mixed_labels(batch)
    assert (other.weight.shape, other.others.dtype) == ((64,), torch.int64)
    there = batch.to("meta")
    assert mixed_labels(there).others.device.type == "meta"
    assert batch.to("cpu") is batch
    assert next(iter(data.val_dataloader())).mixed is None


def test_the_images_that_are_mixed_are_those_of_a_run_without_mixing() -> None:
    def first(**more: float) -> Batch:
        data = ImageDataModule("digits", batch_size=64, augment={"degrees": 10, **more}, seed=3)
        data.prepare_data()
        data.setup()
        return next(iter(data.train_dataloader()))

    by_hand = Mixing(mixup=0.4)(first(), keyed_generator("mixing", 3, 0, 0, 0))
    assert torch.equal(by_hand.images, first(mixup=0.4).images)


@pytest.mark.parametrize(
    "strengths",
    [
        {"elastic_alpha": 20},
        {"hue": 0.3, "saturation": 0.3},
        {"rand_augment": 2},
        {"trivial_augment": True},
        {"gaussian_blur": 1.0},
        {"noise": 0.1},
        {"cutout": 5},
        {"mixup": 0.4},
        {"cutmix": 1.0},
        {"mixup": 0.4, "cutmix": 1.0},
    ],
    ids=lambda strengths: "_".join(strengths),
)
def test_a_batch_depends_on_epoch_and_step_alone(strengths: dict[str, float]) -> None:
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=seeded())
    data = ImageDataModule((images, torch.arange(40) % 4), image_size=16, batch_size=8, augment=strengths, val_size=8)
    data.prepare_data()
    data.setup()

    def batches(epoch: int, first: int) -> list[Batch]:
        loader = data.train_dataloader()
        loader.epoch = lambda: epoch
        return list(loader.batches(first))

    whole = batches(1, 0)
    for all_of_them, rest in zip(whole[2:], batches(1, 2), strict=True):
        assert torch.equal(all_of_them.images, rest.images)
        assert torch.equal(all_of_them.labels, rest.labels)
        if all_of_them.mixed and rest.mixed:
            assert torch.equal(all_of_them.mixed.weight, rest.mixed.weight)
            assert torch.equal(all_of_them.mixed.others, rest.mixed.others)
    assert not torch.equal(whole[0].images, batches(2, 0)[0].images)
