import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch import nn

from lenet_pl.diagnose.changes import as_typed, with_change
from lenet_pl.diagnose.examination import classes_per_batch
from lenet_pl.diagnose.labels import THUMBNAIL, estimate_noise, measure_labels
from lenet_pl.diagnose.layers import measure_layers
from lenet_pl.diagnose.lr_range import learning_rates, read_range
from lenet_pl.diagnose.proof import confidence_of, is_gain
from lenet_pl.diagnose.verdict import Proof, Suspicion
from lenet_pl.errors import SettingError


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    bunch = load_digits()
    pixels = torch.from_numpy((bunch.images * 255 / 16).round().astype(np.uint8))[:, None]
    return pixels, torch.from_numpy(bunch.target).long()


def with_noise(labels: torch.Tensor, fraction: float) -> torch.Tensor:
    """Replace a fraction of the labels by one of the nine others."""
    generator = torch.Generator().manual_seed(0)
    changed = torch.rand(len(labels), generator=generator) < fraction
    return torch.where(changed, (labels + torch.randint(1, 10, labels.shape, generator=generator)) % 10, labels)


def test_similar_images_are_those_of_scikit_learn(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    pixels, labels = digits
    assert min(pixels.shape[2:]) < THUMBNAIL  # nothing is shrunk
    _, near = NearestNeighbors(n_neighbors=2, metric="correlation").fit(pixels.flatten(1).numpy()).kneighbors()
    found = measure_labels(pixels, labels, 10)
    assert found.agreement == pytest.approx(float((labels[near[:, 0]] == labels).double().mean()), abs=2e-3)  # ties
    assert found.chance == pytest.approx(((np.bincount(labels) / len(labels)) ** 2).sum())


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.5])
def test_noise_of_labels_is_estimated(digits: tuple[torch.Tensor, torch.Tensor], noise: float) -> None:
    found = measure_labels(digits[0], with_noise(digits[1], noise), 10)
    assert found.noise == pytest.approx(noise, abs=0.05)
    assert not found.random
    assert noise == 0 or found.evenness > 0.95


def test_shuffled_labels_are_random(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    order = torch.randperm(len(digits[1]), generator=torch.Generator().manual_seed(0))
    found = measure_labels(digits[0], digits[1][order], 10)
    assert found.random
    assert abs(found.above_chance) < 3


@pytest.mark.parametrize("unrelated", [0.0, 0.4])
def test_images_without_similar_ones_do_not_count_as_noise(unrelated: float) -> None:
    # The formula of Zhu, Song and Liu for three labels of one class, and images whose neighbors are of any class
    kept, other = 0.7, 0.3 / 9
    pairs, triples = ((1 - unrelated) * (kept**n + 9 * other**n) + unrelated / 10 ** (n - 1) for n in (2, 3))
    assert estimate_noise(pairs, triples, 10) == pytest.approx(0.3, abs=1e-6)


def test_dead_and_saturated_units_are_counted() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2), nn.Sigmoid())
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([1.0, 1, 1, 0]).view(4, 1, 1, 1))
        network[0].bias.copy_(torch.tensor([0.0, -9, 9, 0]))  # alive, dead, alive, constant
        network[3].weight.zero_()
        network[3].bias.copy_(torch.tensor([0.0, 9]))
    relu, sigmoid = measure_layers(network, torch.rand(10, 1, 2, 2))
    assert (relu.name, relu.units, relu.dead, relu.saturated) == ("1", 4, 0.5, 0.0)
    assert (sigmoid.dead, sigmoid.saturated) == (1.0, 0.5)
    assert sum(relu.counts) == 10 * 4 * 4


def test_a_range_is_read_from_the_loss() -> None:
    lrs = learning_rates()
    assert lrs[0] == pytest.approx(1e-7)
    assert lrs[-1] == pytest.approx(10)
    assert {round(b / a, 6) for a, b in pairwise(lrs)} == {round(10 ** (8 / 99), 6)}
    # Falls from 2.3 to 0.3 around 1e-3, and rises beyond 1e-1
    losses = [2.3 - 2 / (1 + (1e-3 / lr) ** 2) + (lr / 0.3) ** 2 for lr in lrs]
    found = read_range(lrs, losses)
    assert found is not None
    assert 1e-4 < found.lowest < 6e-4
    assert found.suggestion == pytest.approx(1e-3, rel=0.5)
    assert 1e-2 < found.highest < 1e-1
    assert read_range(lrs, [*losses[:95], math.nan, *losses[96:]]) is not None
    assert read_range(lrs, [2.3 + 0.01 * math.sin(k) for k in range(100)]) is None


def test_classes_of_a_batch_are_counted(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    labels = digits[1]
    batches = labels[: len(labels) // 20 * 20].view(-1, 20)
    mean, expected = classes_per_batch(labels, 20, 10)
    assert mean == pytest.approx(np.mean([len(set(batch.tolist())) for batch in batches]))
    order = torch.Generator().manual_seed(0)
    drawn = [len(set(labels[torch.randint(0, len(labels), (20,), generator=order)].tolist())) for _ in range(2000)]
    assert expected == pytest.approx(np.mean(drawn), abs=0.1)
    assert classes_per_batch(labels.sort().values, 20, 10)[0] < 1.5


def test_a_gain_is_more_than_chance_and_more_than_the_run() -> None:
    assert is_gain([0.5], [0.8], None, 1000)
    assert is_gain([0.5, 0.5], [0.8, 0.6], 0.5, 1000)
    assert not is_gain([0.5], [0.52], None, 1000)  # two standard errors are 0.045
    assert not is_gain([0.99], [1.0], None, 1000)  # a matter of tuning
    assert not is_gain([0.5], [0.8], 0.9, 1000)
    assert not is_gain([0.5, 0.8], [0.8, 0.5], None, 1000)


def test_confidence_grows_with_the_errors_that_are_gone() -> None:
    one = Suspicion("lr_too_high", "", {}, "", confidence=0.4, remains=0.3)
    proofs = [Proof("", 1, [0], [0.5], [after], None, after > 0.5, 1000) for after in (0.4, 0.75, 1.0)]
    assert [confidence_of(one, proof) for proof in proofs] == pytest.approx([0.3, 0.9, 1.0])


def test_changes_are_settings(compose: object) -> None:
    settings = compose()  # type: ignore[operator]
    changed = with_change(settings, {"optimizer.lr": 0.5, "augment": "affine", "scheduler": "none"})
    assert (changed.optimizer.lr, changed.augment.degrees > 0, changed.scheduler.name) == (0.5, True, "none")
    assert as_typed({"optimizer.lr": 1e-4, "init_from": None, "augment": "none", "loader.shuffle": True}) == (
        "optimizer.lr=0.0001 init_from=null augment=none loader.shuffle=true"
    )
    with pytest.raises(SettingError, match="lr"):
        with_change(settings, {"optimizer.lr": -1.0})
