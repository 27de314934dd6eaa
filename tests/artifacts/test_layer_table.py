import pytest
import torch
from conftest import Compose
from torch import nn

from lenet_pl.artifacts.layer_table import print_summary, summarize
from lenet_pl.models.build import build_model


def test_rows_say_what_each_layer_makes_and_has() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, 4, bias=False))
    assert summarize(model, torch.zeros(1, 1, 8, 8)) == [
        ("0", "Conv2d", "2×6×6", 2 * (9 + 1)),
        ("1", "ReLU", "2×6×6", 0),
        ("2", "Flatten", "72", 0),
        ("3", "Linear", "4", 288),
    ]


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5))
    summarize(model, torch.ones(1, 1, 2, 2))
    assert model.training
    assert model[0].running_mean.tolist() == [0]
    assert not any(m._forward_hooks for m in model.modules())
    assert not summarize(model.eval(), torch.ones(1, 1, 2, 2)) or not model.training


def test_the_table_of_lenet5_adds_up(compose: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(build_model(compose().model, 1, 10), torch.zeros(1, 1, 32, 32))
    printed = capsys.readouterr().out
    assert "1×32×32" in printed
    counts = [int(w.replace(",", "")) for line in printed.splitlines() for w in line.split()[-2:-1] if w[0].isdigit()]
    assert counts == [156, 2_416, 48_120, 10_164, 850, 61_706]
