import pytest
import torch

from lenet_pl.benchmark import trials
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings


def test_all_ways_compute_the_first_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_compiled", lambda function: function)
    torch.manual_seed(0)
    ways = {way: function for way, (function, _) in trials.first_stages().items()}
    images = torch.rand(3, 1, 32, 32)
    usual = ways.pop("torch, channels last")(images)
    assert len(ways) == 5
    for function in ways.values():
        torch.testing.assert_close(function(images), usual)


def test_ways_are_compared_with_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_compiled", lambda function: function)
    words = ["output_dir=unused", "batch_sizes=[2]", "rounds=1", "seconds=0.001"]
    rows = trials.measure_trials(composition.compose("benchmark", BenchmarkSettings, words))
    assert [(row["of"], row["way"]) for row in rows if row["relative"] == 1] == [
        (trials.STAGE, "torch, channels last"),
        (trials.NETWORK, "torch, channels last"),
    ]
    assert len(trials.trials_table(rows)) == len(rows) + 1 == 10
