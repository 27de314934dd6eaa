import math
from typing import Any

import pytest
import torch
from conftest import Compose
from lion_pytorch import Lion
from torch import nn, optim

from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.schedulers import build_scheduler


def schedule(compose: Compose, *overrides: str, steps: int = 20, values: list[float] | None = None) -> list[float]:
    """List the lr of each step or epoch."""
    settings = compose(*overrides)
    optimizer = build_optimizer(settings.optimizer, [nn.Parameter(torch.zeros(1))])
    built = build_scheduler(settings.scheduler, optimizer, steps)
    rates = []
    for n in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if built:
            built["scheduler"].step(*[values[n]] if values else [])
    return rates


@pytest.mark.parametrize(
    ("overrides", "reference"),
    [
        (["optimizer=adam"], lambda p: optim.Adam(p, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)),
        (
            ["optimizer=adam", "optimizer.lr=0.1", "optimizer.betas=[0.5,0.7]", "optimizer.eps=0.1",
             "optimizer.weight_decay=0.2"],
            lambda p: optim.Adam(p, lr=0.1, betas=(0.5, 0.7), eps=0.1, weight_decay=0.2),
        ),
        (["optimizer=adamw"], lambda p: optim.AdamW(p, lr=1e-3, weight_decay=0.01)),
        (["optimizer=sgd"], lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True)),
        (
            ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0.3"],
            lambda p: optim.SGD(p, lr=0.05, weight_decay=0.3),
        ),
        (["optimizer=radam", "optimizer.weight_decay=0.1"], lambda p: optim.RAdam(p, lr=1e-3, weight_decay=0.1)),
        (["optimizer=nadam"], lambda p: optim.NAdam(p, lr=1e-3, momentum_decay=0.004)),
        (["optimizer=lion", "optimizer.weight_decay=0.1"], lambda p: Lion(p, lr=1e-4, weight_decay=0.1)),
        (["optimizer=rmsprop"], lambda p: optim.RMSprop(p, lr=1e-3, alpha=0.99)),
        (
            ["optimizer=rmsprop", "optimizer.alpha=0.5", "optimizer.momentum=0.7", "optimizer.weight_decay=0.1"],
            lambda p: optim.RMSprop(p, lr=1e-3, alpha=0.5, momentum=0.7, weight_decay=0.1),
        ),
    ],
)  # fmt: skip
def test_steps_equal_those_of_torchs_optimizer(overrides: list[str], reference: Any, compose: Compose) -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 9)) for _ in range(2))
    optimizers = [build_optimizer(compose(*overrides).optimizer, [ours]), reference([theirs])]
    for _ in range(5):
        for optimizer, parameter in zip(optimizers, (ours, theirs), strict=True):
            optimizer.zero_grad()
            (parameter.sin() ** 2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_without_scheduler_the_lr_stays(compose: Compose) -> None:
    assert schedule(compose, "scheduler=none") == [1e-3] * 20


def test_plateau_lowers_the_lr_once_more_than_patience_epochs_bring_nothing(compose: Compose) -> None:
    rates = schedule(compose, "scheduler=plateau", values=[1.0, 0.5, *[0.5] * 8], steps=10)
    # epoch 1 was better than epoch 0; 2, 3, 4 are borne; after 5 it falls, and after 9 again
    assert rates == [1e-3] * 6 + [5e-4] * 4


def test_plateau_of_an_accuracy_waits_for_a_rise(compose: Compose) -> None:
    overrides = ("scheduler=plateau", "scheduler.monitor=val/accuracy", "scheduler.patience=0")
    assert schedule(compose, *overrides, values=[0.1, 0.2, 0.3, 0.4], steps=4) == [1e-3] * 4
    assert schedule(compose, *overrides, values=[0.4, 0.3, 0.2, 0.1], steps=4) == [1e-3, 1e-3, 5e-4, 2.5e-4]


def test_step_and_exponential_multiply(compose: Compose) -> None:
    rates = schedule(compose, "scheduler=step", "scheduler.step_size=3", steps=8)
    assert rates == pytest.approx([1e-3] * 3 + [1e-4] * 3 + [1e-5] * 2)
    rates = schedule(compose, "scheduler=exponential", steps=5)
    assert rates == pytest.approx([1e-3 * 0.95**n for n in range(5)])


def test_cosine_follows_its_formula(compose: Compose) -> None:
    rates = schedule(compose, "scheduler=cosine", "scheduler.eta_min=1e-4", steps=20)
    assert rates == pytest.approx([1e-4 + 9e-4 * (1 + math.cos(math.pi * n / 20)) / 2 for n in range(20)])


def test_onecycle_starts_low_peaks_at_the_lr_and_ends_low(compose: Compose) -> None:
    rates = schedule(compose, "scheduler=onecycle", steps=20)
    assert rates[0] == pytest.approx(1e-3 * 0.04)
    assert rates.index(max(rates)) == 5  # the last of the first 30%
    assert max(rates) == pytest.approx(1e-3)
    assert rates[-1] == pytest.approx(1e-3 * 1e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 11])
@pytest.mark.parametrize("warmup", [0.1, 0.5, 0.9])
def test_onecycle_takes_any_length(steps: int, warmup: float, compose: Compose) -> None:
    rates = schedule(compose, "scheduler=onecycle", f"scheduler.pct_start={warmup}", steps=steps)
    assert max(rates) <= 1e-3 * (1 + 1e-9)
    assert all(math.isfinite(rate) for rate in rates)


@pytest.mark.parametrize(("optimizer", "key"), [("sgd", "momentum"), ("adam", "betas"), ("rmsprop", "momentum")])
def test_onecycle_leaves_the_momentum_that_was_set(optimizer: str, key: str, compose: Compose) -> None:
    settings = compose(f"optimizer={optimizer}", "scheduler=onecycle")
    built = build_optimizer(settings.optimizer, [nn.Parameter(torch.zeros(1))])
    before = built.param_groups[0][key]
    build_scheduler(settings.scheduler, built, 20)
    assert built.param_groups[0][key] == before


def test_schedules_over_steps_and_over_epochs_say_so(compose: Compose) -> None:
    intervals = {}
    for name in ("plateau", "step", "exponential", "cosine", "onecycle"):
        settings = compose(f"scheduler={name}")
        optimizer = build_optimizer(settings.optimizer, [nn.Parameter(torch.zeros(1))])
        built = build_scheduler(settings.scheduler, optimizer, 20)
        assert built
        intervals[name] = built["interval"]
    assert intervals == dict.fromkeys(("plateau", "step", "exponential"), "epoch") | dict.fromkeys(
        ("cosine", "onecycle"), "step"
    )
