import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lenet_pl.optim.ema import EMAModel


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))


def change(model: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    model(torch.rand(4, 1, 8, 8))  # buffers of batch normalization
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_average_is_that_of_torch() -> None:
    model = network()
    own = EMAModel(model, 0.9)
    torchs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    for seed in range(4):
        change(model, seed)
        own.update_parameters(model)
        torchs.update_parameters(model)
        assert equal(own, torchs)
    assert int(own.n_averaged) == 4


@pytest.mark.parametrize("updates", [0, 2])
def test_a_loaded_average_continues_or_starts_as_the_state_says(updates: int) -> None:
    model = network()
    holder = nn.ModuleDict({"average": EMAModel(model, 0.9)})
    for seed in range(updates):
        change(model, seed)
        holder["average"].update_parameters(model)
    state = copy.deepcopy(holder.state_dict())
    change(model, 5)
    now = copy.deepcopy(model)
    holder["average"].update_parameters(model)
    expected = copy.deepcopy(holder)
    change(model, 6)
    holder["average"].update_parameters(model)  # as when a search for the learning rate is undone
    holder.load_state_dict(state)
    holder["average"].update_parameters(now)
    assert equal(holder, expected)


def test_an_update_reads_no_value_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    own = EMAModel(model, 0.9)
    own.update_parameters(model)

    def wait(*_: object) -> bool:
        raise AssertionError("the host would wait for a GPU")

    monkeypatch.setattr(torch.Tensor, "__bool__", wait)
    own.update_parameters(model)
