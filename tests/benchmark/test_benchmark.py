import csv
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from lenet_pl import command
from lenet_pl.benchmark.__main__ import benchmark
from lenet_pl.benchmark.loops import plain_loop, tuned_loop, tutorial_loop
from lenet_pl.benchmark.machine import training_operations
from lenet_pl.data.augment import Augment
from lenet_pl.data.image_set import ImageSet
from lenet_pl.data.transform import ModelInput
from lenet_pl.settings import AugmentSettings
from lenet_pl.settings.benchmark import BenchmarkSettings

STILL = AugmentSettings(
    rotation=0, translation=0, scale=0, squeeze=0, shear=0, crop_padding=0, flip=0, brightness=0, contrast=0,
    saturation=0,
)  # fmt: skip


def test_operations_are_three_times_the_forward_multiply_adds_less_the_inputs_gradient() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 3))
    forward = 2 * (16 * 5 + 5 * 3)
    backward = 2 * (16 * 5) + 2 * 2 * (5 * 3)  # the first layer has nobody to pass a gradient on to
    assert training_operations(model, torch.zeros(1, 1, 4, 4)) == forward + backward


@pytest.mark.parametrize("loop", [tutorial_loop, plain_loop, tuned_loop])
@pytest.mark.parametrize("moving", [False, True])
def test_every_loop_learns(loop, moving: bool) -> None:  # type: ignore[no-untyped-def]
    labels = torch.arange(64) % 2
    images = ImageSet((labels * 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous(), labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    augment = Augment(STILL.model_copy(update={"rotation": 5.0}) if moving else STILL)
    to_input = ModelInput(8, "resize", [0.5], [0.5])
    run = loop(model, images, to_input, augment, 16)
    assert run(16 * 60) > 0
    with torch.no_grad():
        assert (model(to_input(images.images)).argmax(1) == labels).all()


@pytest.mark.slow
def test_the_benchmark_writes_what_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = command.compose(
        "benchmark",
        BenchmarkSettings,
        ["run=unused", "data_sets=[fake]", "models=[lenet_sigmoid]", "augments=[none]", "rounds=2", "seconds=0.02"],
    )
    benchmark(settings, tmp_path)
    results = json.loads((tmp_path / "benchmark.json").read_text())
    assert [row["loop"] for row in results["rows"]] == [
        "tutorial loop", "plain tensor loop", "tuned tensor loop", "lenet_pl",
    ]  # fmt: skip
    for row in results["rows"]:
        assert 0 < row["smallest"] <= row["images_per_second"] <= row["largest"]
        assert row["share_of_machine"] > 0
    assert results["rows"][2]["to_tuned"] == 1
    assert all(rate > 0 for rate in results["machine"].values())
    lines = [line for line in (tmp_path / "benchmark.md").read_text().splitlines() if line.startswith("|")]
    cells = list(csv.reader(lines, delimiter="|"))
    assert [row[4].strip() for row in cells[2:]] == [row["loop"] for row in results["rows"]]
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    assert "images per second" in capsys.readouterr().out
