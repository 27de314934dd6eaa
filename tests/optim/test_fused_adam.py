import copy
from typing import Any

import pytest
import torch
from torch import nn, optim

from lenet_pl.optim.ema import EMAModel
from lenet_pl.optim.fused_adam import FusedAdam, is_possible


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3))


def two_groups(kind: Any, model: nn.Sequential, **more: Any) -> optim.Optimizer:
    groups = [
        {"params": model[0].parameters(), "lr": 0.01},
        {"params": [*model[2].parameters(), *model[4].parameters()]},
    ]
    return kind(groups, 0.001, fused=True, **more)  # type: ignore[no-any-return]


def backward(model: nn.Module, step: int) -> None:
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(step))
    nn.functional.cross_entropy(model(images), torch.arange(5) % 3).backward()


@pytest.mark.parametrize("more", [{}, {"weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}, {"amsgrad": True}])
@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
def test_weights_and_state_are_those_of_torchs_step(kind: Any, more: dict[str, Any]) -> None:
    models = network(), network()
    optimizers = [two_groups(kind, model, **more) for model in models]
    ours = FusedAdam(optimizers[1])
    assert is_possible(optimizers[1]) == ("amsgrad" not in more)
    for step in range(6):
        for optimizer, model, fused in zip(optimizers, models, (None, ours), strict=True):
            for group in optimizer.param_groups:
                group["lr"] *= 0.9  # as a scheduler does, which may change betas, too
                group["betas"] = (0.8 + 0.01 * step, 0.99)
            (fused or optimizer).zero_grad()
            backward(model, step)
            (fused or optimizer).step()
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(optimizers[0].state_dict(), optimizers[1].state_dict(), rtol=0, atol=0)


def test_a_layer_that_is_frozen_for_some_steps_keeps_its_weights() -> None:
    models = network(), network()
    optimizers = [optim.Adam(model.parameters(), 0.01, fused=True) for model in models]
    ours = FusedAdam(optimizers[1])
    for step in range(6):
        for model, optimizer in zip(models, (optimizers[0], ours), strict=True):
            model[0].requires_grad_(step in (2, 3, 5))
            optimizer.zero_grad()
            backward(model, step)
            optimizer.step()
    torch.testing.assert_close(optimizers[0].state_dict(), optimizers[1].state_dict(), rtol=0, atol=0)
    assert all(torch.equal(*pair) for pair in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_hooks_after_a_step_run() -> None:
    model = network()
    average = EMAModel(copy.deepcopy(model), 0.9)
    optimizer = optim.Adam(model.parameters(), 0.01, fused=True)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    ours = FusedAdam(optimizer)
    for step in range(3):
        ours.zero_grad()
        backward(model, step)
        ours.step()
    assert int(average.n_averaged) == 3


def test_other_optimizers_take_their_own_steps() -> None:
    model = network()
    for optimizer in (optim.SGD(model.parameters(), 0.1), optim.Adam(model.parameters(), 0.1, fused=False)):
        ours = FusedAdam(optimizer)
        for step in range(2):
            before = model[0].weight.clone()
            ours.zero_grad()
            assert model[0].weight.grad is None
            backward(model, step)
            ours.step()
            assert not torch.equal(before, model[0].weight)
