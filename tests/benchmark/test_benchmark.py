import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Compose
from torch import nn

from lenet_pl.benchmark import benchmark, commands
from lenet_pl.benchmark.arrays import write_arrays
from lenet_pl.benchmark.commands import control_group
from lenet_pl.benchmark.compare_loops import first_available_dataset
from lenet_pl.benchmark.loops import Workload, activation_before_pool, plain_loop, tuned_loop, tutorial_loop
from lenet_pl.data.augment import Augment
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.transform import Preprocess
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import DataError
from lenet_pl.models.build import build_model
from lenet_pl.settings import AugmentSettings, TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.choices import read_choice

STILL = AugmentSettings(**read_choice("augment", "none"))


@pytest.mark.parametrize("loop", [tutorial_loop, plain_loop, tuned_loop])
@pytest.mark.parametrize("moving", [False, True])
def test_every_loop_learns(loop, moving: bool) -> None:  # type: ignore[no-untyped-def]
    labels = torch.arange(64) % 2
    images = ImageDataset((labels * 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous(), labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    augment = Augment(STILL.model_copy(update={"degrees": 5.0}) if moving else STILL)
    preprocess = Preprocess(8, "resize", [0.5], [0.5])
    run = loop(model, Workload(images, preprocess, augment, 16))
    assert run(16 * 60) > 0
    with torch.no_grad():
        assert (model(preprocess(images.images)).argmax(1) == labels).all()


@pytest.mark.slow
def test_the_benchmark_writes_what_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = composition.compose(
        "benchmark",
        BenchmarkSettings,
        [
            *(
                "output_dir=unused",
                "datasets=[fake]",
                "models=[lenet_sigmoid]",
                "augments=[none]",
                "rounds=1",
                "seconds=0.02",
            ),
            *("parts=[loops,data_sizes,mnist_99]", "data_series=[1000]", "batch_sizes=[128]", "num_threads=1"),
            f"data_root={tmp_path}",
        ],
    )
    benchmark(settings, tmp_path)
    results = json.loads((tmp_path / "benchmark.json").read_text())
    rows = results["loops"]
    assert [row["loop"] for row in rows] == ["tutorial loop", "plain tensor loop", "tuned tensor loop", "lenet_pl"]
    assert "no MNIST" in results["mnist_99"]["not_measured"]
    (size,) = results["data_sizes"]["rows"]
    assert size["uint8_mb"] == pytest.approx(1000 * 28 * 28 / 1e6, abs=0.1)
    assert 0 < size["above_imports_mb"] < 1000
    for row in rows:
        assert 0 < row["smallest"] <= row["images_per_second"] <= row["largest"]
        assert row["share_of_machine"] > 0
    assert rows[2]["to_tuned"] == rows[0]["to_tutorial"] == 1
    for row in rows:
        longer = 128 * 1000 * (1 / row["images_per_second"] - 1 / rows[2]["images_per_second"])
        assert row["over_tuned_ms"] == pytest.approx(longer, abs=0.1)
    assert all(rate > 0 for rate in results["machine"].values())
    lines = [line for line in (tmp_path / "benchmark.md").read_text().splitlines() if line.startswith("|")]
    cells = list(csv.reader(lines, delimiter="|"))
    assert [row[4].strip() for row in cells[2:6]] == [row["loop"] for row in rows]
    assert (tmp_path / "benchmark.png").stat().st_size > 1000
    assert "images/s" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"benchmark.json", "benchmark.md", "benchmark.png"}


def test_activations_before_pooling_compute_the_same(compose: Compose) -> None:
    model = build_model(compose("model=lenet_bn").model, 1, 10).eval()
    images = torch.randn(4, 1, 32, 32)
    with torch.no_grad():
        pooled_first = model(images)
        again = activation_before_pool(model)(images)
    assert [type(m).__name__ for m in model.features] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 2
    torch.testing.assert_close(again, pooled_first, rtol=0, atol=1e-6)


@pytest.mark.parametrize("color", [False, True])
def test_written_arrays_are_real_images_repeated(tmp_path: Path, color: bool) -> None:
    settings = composition.compose("benchmark", BenchmarkSettings, ["output_dir=unused", f"data_root={tmp_path}"])
    write_arrays(settings, tmp_path / "set", 2000, "fake", color=color)
    images, labels = (np.load(tmp_path / "set" / f"train_{name}.npy") for name in ("images", "labels"))
    given = build_datamodule(composition.compose("train", TrainSettings, ["run=unused", "data=fake"])).train_set
    size = len(given)
    assert len(images) == len(labels) == 2000
    assert (labels[size : 2 * size] == given.labels.numpy()).all()
    shown = images[size : 2 * size]
    shown = shown[:, 2:-2, 2:-2, 1] if color else shown
    assert (shown == given.images[:, 0].numpy()).all()


def test_a_control_group_limits_the_process_that_joins_it() -> None:
    script = "x = bytearray(400_000_000); x[::4096] = b'x' * len(x[::4096])"
    try:
        with control_group(100_000_000) as join:
            limited = subprocess.run([sys.executable, "-c", script], preexec_fn=join)
    except OSError:
        pytest.skip("a memory control group cannot be created here")
    assert limited.returncode == -9
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_failing_command_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^broken: .* exited with code 2: error: data=nowhere: no such data"):
        commands.run_training(tmp_path / "broken", ["data=nowhere"])


@pytest.mark.long
def test_ctrl_c_is_reported_in_one_line_and_leaves_nothing(tmp_path: Path, command_environment: dict[str, str]) -> None:
    loops = (
        "parts=[loops]",
        "datasets=[fake]",
        "models=[lenet5]",
        "augments=[none]",
        "batch_sizes=[64]",
        "seconds=60",
    )
    command = [sys.executable, "-m", "lenet_pl.benchmark", *loops]
    environment = {**command_environment, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    (tmp_path / "cwd").mkdir()
    with subprocess.Popen(
        command, cwd=tmp_path / "cwd", env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("1 of 1: lenet5")
        time.sleep(8)  # the workers have started, or are about to; neither may print anything
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert rest == "error: interrupted; benchmark is not finished\n"
    assert list((tmp_path / "cwd").iterdir()) == []
    assert list((tmp_path / "temporary").iterdir()) == []


def test_sets_without_files_are_composed_too(tmp_path: Path) -> None:
    settings = composition.compose("benchmark", BenchmarkSettings, ["output_dir=unused", f"data_root={tmp_path}"])
    assert first_available_dataset(settings, ["mnist", "digits"]) == "digits"
