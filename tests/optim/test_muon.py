"""Muon with AdamW beside torch's two optimizers, each with its own parameters."""

import sys
from typing import Any

import pytest
import torch
from conftest import Compose
from torch import nn, optim
from torch.nn import functional

from lenet_pl.errors import SettingError
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.parameter_groups import parameter_groups, scale_learning_rates

IMAGES = torch.randn(16, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 3


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 3)
    )


def steps(model: nn.Module, *optimizers: optim.Optimizer, count: int = 5) -> None:
    for _ in range(count):
        model.zero_grad()
        functional.cross_entropy(model(IMAGES), LABELS).backward()
        for optimizer in optimizers:
            optimizer.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def ours(compose: Compose, parameters: Any, *words: str) -> optim.Optimizer:
    return build_optimizer(compose("optimizer=muon", *words).optimizer, parameters)


def theirs(model: nn.Module, lr: float = 1e-3) -> tuple[optim.Optimizer, ...]:
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    muon = optim.Muon(matrices, lr, 0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return muon, optim.AdamW(others, lr, weight_decay=0.01, fused=True)


def test_steps_have_the_bits_of_both_optimizers(compose: Compose) -> None:
    one, other = network(), network()
    steps(one, ours(compose, one.parameters()))
    steps(other, *theirs(other))
    assert same(one, other)
    assert not same(one, network())


def test_a_changed_learning_rate_reaches_both(compose: Compose) -> None:
    one, other = network(), network()
    optimizer = ours(compose, one.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.03
    steps(one, optimizer)
    steps(other, *theirs(other, 0.03))
    assert same(one, other)


def test_training_goes_on_from_the_state(compose: Compose) -> None:
    whole, first, second = network(), network(), network()
    steps(whole, ours(compose, whole.parameters()), count=7)
    before = ours(compose, first.parameters())
    steps(first, before, count=3)
    second.load_state_dict(first.state_dict())
    after = ours(compose, second.parameters())
    after.load_state_dict(before.state_dict())
    steps(second, after, count=4)
    assert same(whole, second)


def test_groups_are_divided_and_keep_their_factor(compose: Compose) -> None:
    model = network()
    optimizer = ours(compose, parameter_groups(model, 0.5))
    scale_learning_rates(optimizer)
    found = {(group["lr_scale"], group["muon"]): group["lr"] for group in optimizer.param_groups}
    assert found[1.0, True] == found[1.0, False] == 1e-3
    assert found[0.5, True] == 5e-4
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    steps(model, optimizer, count=1)


def test_a_network_without_matrices_is_adamws(compose: Compose) -> None:
    one, other = (nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizers = ours(compose, [one]), optim.AdamW([other], 1e-3, weight_decay=0.01, fused=True)
    for parameter, optimizer in zip((one, other), optimizers, strict=True):
        parameter.square().sum().backward()
        optimizer.step()
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "package"),
    [("lion", "lion-pytorch"), ("schedule_free_adamw", "schedulefree"), ("schedule_free_sgd", "schedulefree")],
)
def test_an_optimizer_without_its_package_is_an_error(
    name: str, package: str, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(SettingError, match=rf"^optimizer: {name} needs the package {package}; pip install 'lenet_pl\["):
        build_optimizer(compose(f"optimizer={name}").optimizer, [nn.Parameter(torch.ones(1))])
