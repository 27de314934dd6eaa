"""Schedules step by step beside torch's own, alone and after a warm-up."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Compose
from torch import nn, optim
from torch.optim import lr_scheduler as lrs

from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.schedulers import build_scheduler
from lenet_pl.optim.warm_up import WarmUp

STEPS, PER_EPOCH, WARM = 60, 5, 10  # two epochs of warm-up
Reference = Callable[[optim.Optimizer, int], lrs.LRScheduler]
BY_STEP: dict[str, tuple[tuple[str, ...], Reference]] = {
    "cosine": (("scheduler.eta_min=1e-5",), lambda o, n: lrs.CosineAnnealingLR(o, n, 1e-5)),
    "cosine_restarts": (
        ("scheduler.period=3", "scheduler.eta_min=1e-5"),
        lambda o, n: lrs.CosineAnnealingWarmRestarts(o, 3 * PER_EPOCH, 2, 1e-5),
    ),
    "polynomial": (("scheduler.power=2",), lambda o, n: lrs.PolynomialLR(o, n, 2)),
    "linear": (("scheduler.end_factor=0.1",), lambda o, n: lrs.LinearLR(o, 1, 0.1, n)),
}
BY_EPOCH: dict[str, tuple[tuple[str, ...], Reference]] = {
    "step": (("scheduler.step_size=3",), lambda o, n: lrs.StepLR(o, 3)),
    "multistep": (("scheduler.milestones=[2,5]",), lambda o, n: lrs.MultiStepLR(o, [2, 5])),
    "exponential": (("scheduler.gamma=0.9",), lambda o, n: lrs.ExponentialLR(o, 0.9)),
    "piecewise_constant": (
        ("scheduler.epochs=[2,3]", "scheduler.factors=[1,0.5,0.1]"),
        lambda o, n: lrs.LambdaLR(o, lambda epoch: 1 if epoch < 2 else 0.5 if epoch < 5 else 0.1),
    ),
    "none": ((), lambda o, n: lrs.ConstantLR(o, 1, 0)),
}


def sgd() -> optim.Optimizer:
    return optim.SGD([nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))], 0.1)


def rates(optimizer: optim.Optimizer, schedulers: dict[lrs.LRScheduler, int], steps: int = STEPS) -> list[float]:
    """List the learning rate of each step; each scheduler is stepped after every so many steps."""
    found = []
    for number in range(1, steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler, every in schedulers.items():
            if number % every == 0:
                scheduler.step()
    return found


def ours(compose: Compose, name: str, *more: str) -> tuple[optim.Optimizer, dict[str, Any] | None]:
    optimizer = sgd()
    settings = compose(f"scheduler={name}", *more).scheduler
    return optimizer, build_scheduler(settings, optimizer, STEPS, PER_EPOCH)


@pytest.mark.parametrize("name", {**BY_STEP, **BY_EPOCH})
def test_a_schedule_equals_that_of_torch(name: str, compose: Compose) -> None:
    words, reference = {**BY_STEP, **BY_EPOCH}[name]
    optimizer, built = ours(compose, name, *words)
    every = 1 if name in BY_STEP else PER_EPOCH
    assert built is None or built["interval"] == ("step" if every == 1 else "epoch")
    there = sgd()
    wanted = rates(there, {reference(there, STEPS): every})
    assert rates(optimizer, {built["scheduler"]: every} if built else {}) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", BY_STEP)
def test_a_warm_up_before_a_schedule_by_step_equals_sequential_lr(name: str, compose: Compose) -> None:
    words, reference = BY_STEP[name]
    optimizer, built = ours(compose, name, *words, "scheduler.warmup_epochs=2", "scheduler.warmup_factor=0.04")
    assert built is not None
    assert built["interval"] == "step"
    there = sgd()
    parts = [lrs.LinearLR(there, 0.04, total_iters=WARM), reference(there, STEPS - WARM)]
    wanted = rates(there, {lrs.SequentialLR(there, parts, [WARM]): 1})
    assert rates(optimizer, {built["scheduler"]: 1}) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("name", BY_EPOCH)
def test_a_warm_up_before_a_schedule_by_epoch_is_torchs_linear_lr_and_then_the_schedule(
    name: str, compose: Compose
) -> None:
    words, reference = BY_EPOCH[name]
    optimizer, built = ours(compose, name, *words, "scheduler.warmup_epochs=2", "scheduler.warmup_factor=0.04")
    assert built is not None
    assert built["interval"] == "step"
    first, then = sgd(), sgd()
    wanted = rates(first, {lrs.LinearLR(first, 0.04, total_iters=WARM): 1}, WARM)
    wanted += rates(then, {reference(then, STEPS): PER_EPOCH}, STEPS - WARM)
    assert rates(optimizer, {built["scheduler"]: 1}) == pytest.approx(wanted, rel=1e-6)


def test_a_warm_up_may_be_a_part_of_an_epoch(compose: Compose) -> None:
    optimizer, built = ours(compose, "step", "scheduler.step_size=1", "scheduler.warmup_epochs=0.4")
    assert built is not None
    found = rates(optimizer, {built["scheduler"]: 1}, 14)
    assert found == pytest.approx([0.1 * 0.01, 0.1 * 0.505, *[0.1] * 5, *[0.01] * 5, *[0.001] * 2])


@pytest.mark.parametrize("name", {**BY_STEP, **BY_EPOCH})
@pytest.mark.parametrize("stop", [3, WARM, 33])
def test_a_schedule_goes_on_from_its_state(name: str, stop: int, compose: Compose) -> None:
    words, _ = {**BY_STEP, **BY_EPOCH}[name]
    given = (name, *words, "scheduler.warmup_epochs=2")
    optimizer, built = ours(compose, *given)
    assert built is not None
    wanted = rates(optimizer, {built["scheduler"]: 1})
    first, before = ours(compose, *given)
    assert before is not None
    begun = rates(first, {before["scheduler"]: 1}, stop)
    second, after = ours(compose, *given)
    assert after is not None
    second.load_state_dict(first.state_dict())
    after["scheduler"].load_state_dict(before["scheduler"].state_dict())
    assert begun + rates(second, {after["scheduler"]: 1}, STEPS - stop) == wanted
    assert after["scheduler"].get_last_lr() == [optimizer.param_groups[0]["lr"]]


def test_a_plateau_waits_for_the_end_of_the_warm_up(compose: Compose) -> None:
    optimizer, built = ours(compose, "plateau", "scheduler.patience=0", "scheduler.warmup_epochs=2")
    assert built is not None
    scheduler = built["scheduler"]
    assert isinstance(scheduler, WarmUp)
    assert built["monitor"] == "val/loss"
    for _ in range(WARM):
        assert scheduler.plateau is None
        optimizer.step()
        scheduler.step()
    assert scheduler.plateau is None  # the epoch that ends belongs to the warm-up
    optimizer.step()
    scheduler.step()
    assert scheduler.plateau is not None
    for _ in range(2):
        scheduler.plateau.step(1.0)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert scheduler.get_last_lr() == [pytest.approx(0.05)]


def test_onecycle_has_a_warm_up_of_its_own(compose: Compose) -> None:
    assert not hasattr(compose("scheduler=onecycle").scheduler, "warmup_epochs")


def test_each_group_of_parameters_is_warmed_up_to_its_own_rate(compose: Compose) -> None:
    optimizer = build_optimizer(
        compose("optimizer=sgd").optimizer,
        [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.01)],
    )
    scheduler = WarmUp(optimizer, None, steps=4, factor=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.005])
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01]
