import copy
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from lenet_pl.benchmark import benchmark, gpu
from lenet_pl.benchmark.gpu import choices, graph, rates
from lenet_pl.benchmark.gpu.amount import FULL, SHORT, SMALL
from lenet_pl.benchmark.gpu.loops import draw_maps, graph_loop
from lenet_pl.benchmark.gpu.stacked import StackedNetworks
from lenet_pl.benchmark.gpu.steps import Bench, OutOfTime, attempt, time_limit
from lenet_pl.benchmark.gpu.tables import gpu_tables
from lenet_pl.benchmark.gpu.training import WholeTraining
from lenet_pl.benchmark.loops import Workload
from lenet_pl.data.augment import Augment, warp
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.transform import Preprocess
from lenet_pl.engine.build import build_datamodule
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.errors import SettingError
from lenet_pl.settings import AugmentSettings, Settings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings, GpuStep
from lenet_pl.settings.choices import read_choice
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.explain import ExplainSettings
from lenet_pl.settings.export import ExportSettings

CPU = torch.device("cpu")
STILL = AugmentSettings(**read_choice("augment", "none"))


def settings_of(tmp_path: Path, *words: str) -> BenchmarkSettings:
    given = [
        "output_dir=unused",
        "parts=[gpu]",
        "datasets=[digits]",
        f"data_root={tmp_path}",
        "gpu_amount=small",
        *words,
    ]
    return composition.compose("benchmark", BenchmarkSettings, given)


@pytest.mark.slow
def test_the_whole_part_runs_on_a_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "COMMANDS", {})  # each starts a process
    benchmark(settings_of(tmp_path, "gpu_device=cpu"), tmp_path)
    found = json.loads((tmp_path / "benchmark.json").read_text())["gpu"]
    assert list(gpu.STEPS) == [name for name in found if name in gpu.STEPS]
    assert not any("failed" in found[name] for name in gpu.STEPS)
    equality = found["equality"]
    for name in ("losses, tf32 off", "accuracy with dropout"):
        assert equality[name]["first_50"] == 0  # the device is the CPU here
        assert equality[name]["steps"] == SMALL.epochs * SMALL.epoch_steps
    assert equality["runs"]["deterministic_twice"] == equality["runs"]["resumed"] == []
    assert equality["choices"]["failures"] == {}
    assert equality["commands"] == {}
    measured = {row["loop"]: row for row in found["rates"]["rows"] if row["augment"] == "none"}
    assert {name for name, row in measured.items() if "images_per_second" in row} == {
        "tutorial loop", "plain tensor loop", "tuned tensor loop", "lenet_pl"
    }  # fmt: skip
    assert all("GPU" in row["not_measured"] for row in measured.values() if "images_per_second" not in row)
    assert found["mnist_99"]["lenet_pl"]["seconds"] > 0
    assert found["ddp"]["loss_after_20_steps"]["ddp"] == found["ddp"]["loss_after_20_steps"]["without"]
    assert [row["networks"] for row in found["seeds"]["rows"]] == [1, 2]
    text = (tmp_path / "benchmark.md").read_text()
    assert "resumed: bit-identical." in text
    assert "incomplete" not in text
    assert (tmp_path / "benchmark.png").exists()
    assert "gpu: seeds took" in capsys.readouterr().err


def test_trainings_are_compared_repeated_and_resumed(tmp_path: Path) -> None:
    silence_lightning_logs()
    bench = Bench(settings_of(tmp_path), tmp_path, "digits", CPU, SMALL)
    equal: dict[str, Any] = {name: graph.compare_graph(bench, words) for name, words in list(graph.CASES.items())[-1:]}
    assert equal == {"onecycle with momentum": {"steps": 10, "differences": [], "largest_weight_difference": 0.0}}
    repeated = graph.repeat_and_resume(bench)
    assert repeated == {"deterministic_twice": [], "resumed": [], "resumed_without_graph": []}
    waits = {"steps": 100, "lines": {"loader.py:1": 3}, "all": 3, "per_100_steps": 5.0}
    record = {
        "seconds": 1,
        "equal": equal | {"lenet5": {"failed": "no such kernel"}},
        "repeated": repeated | {"resumed": ["/weights"]},
        "waits": waits,
    }
    text = gpu_tables({"device": "a GPU", "cuda": "13", "data": "digits", "seconds": 1, "cuda_graph": record})
    assert "| onecycle with momentum | 10 | equal | 0.0e+00 |" in text
    assert "| lenet5 |  | no such kernel |  |" in text
    assert "resumed: different: /weights." in text
    assert "Steps in the graph: 5 waits for the device in 100 steps." in text
    assert "incomplete" not in text


def test_a_training_may_be_on_other_data_than_the_measurement(tmp_path: Path) -> None:
    bench = Bench(settings_of(tmp_path), tmp_path, "mnist", CPU, SHORT)
    assert bench.given("data=digits").data.name == "digits"
    assert bench.given().data.model_dump()["download"] is False


def test_the_short_amount_measures_what_the_graph_gains(tmp_path: Path) -> None:
    bench = Bench(settings_of(tmp_path), tmp_path, "digits", CPU, SHORT)
    given = bench.given("model=lenet5")
    found = rates.loops(bench, given, build_datamodule(given), compiled=False)
    assert tuple(found) == SHORT.loops


def test_without_a_gpu_the_part_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = gpu.measure_gpu(settings_of(tmp_path), tmp_path, "digits", lambda record: None)
    assert found == {"not_measured": "no GPU here"}
    assert gpu_tables(found) == "GPU: not measured, no GPU here."
    with pytest.raises(SettingError, match="gpu_device: got cuda"):
        gpu.measure_gpu(settings_of(tmp_path, "gpu_device=cuda"), tmp_path, "digits", lambda record: None)


def test_a_failure_is_recorded_and_the_rest_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(bench: Bench, record: dict[str, Any]) -> None:
        record["before"] = 1
        raise ValueError("no\nsuch luck")

    def lasts(bench: Bench, record: dict[str, Any]) -> None:
        while True:
            attempt(record, "round", lambda: None)

    bench = Bench(settings_of(tmp_path), tmp_path, "digits", CPU, SMALL)
    monkeypatch.setattr(gpu, "STEPS", {"fails": (1, fails), "lasts": (1, lasts)})
    record = gpu.take_step("fails", bench, 60)
    assert (record["before"], record["failed"]) == (1, "ValueError: no")
    assert "in fails" in record["traceback"]
    record = gpu.take_step("lasts", bench, 3)  # longer than a busy machine takes to start
    assert record["failed"].startswith("OutOfTime: stopped after")
    assert record["round"] is None
    with pytest.raises(OutOfTime), time_limit(0.01):
        threading.Event().wait(10)


@pytest.mark.slow
def test_a_step_runs_in_a_separate_process(tmp_path: Path) -> None:
    bench = Bench(settings_of(tmp_path), tmp_path, "digits", CPU, SMALL)
    record = gpu.take_step_alone("ddp", bench, 60)
    assert record["backend"] == "gloo"
    record = gpu.take_step_alone("rates", replace(bench, data="nowhere"), 60)
    assert "Could not find 'data/nowhere'" in record["failed"]
    record = gpu.take_step_alone("rates", bench, 0.01)
    assert record["failed"].startswith("OutOfTime")


@pytest.mark.parametrize(
    ("command", "kind"), [("evaluate", EvaluateSettings), ("explain", ExplainSettings), ("export", ExportSettings)]
)
def test_the_commands_have_the_settings_that_they_are_given(command: str, kind: type[Settings]) -> None:
    composition.compose(command, kind, ["run=some", *choices.COMMANDS[command]])


def test_the_fractions_of_the_steps_add_up_to_one() -> None:
    assert sum(share for share, _ in gpu.STEPS.values()) == pytest.approx(1)
    assert list(gpu.STEPS) == list(get_args(GpuStep))
    assert FULL.graph_seeds == 20


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("moving", [False, True])
def test_whole_steps_learn(moving: bool, channels_last: bool) -> None:
    labels = torch.arange(64) % 2
    images = ImageDataset((labels * 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous(), labels)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    augment = Augment(STILL.model_copy(update={"degrees": 5.0}) if moving else STILL)
    preprocess = Preprocess(8, "resize", [0.5], [0.5])
    run = graph_loop(model, Workload(images, preprocess, augment, 16, CPU), steps=3, channels_last=channels_last)
    assert run(16 * 60) > 0
    with torch.no_grad():
        assert (model(preprocess(images.images)).argmax(1) == labels).all()


def test_maps_drawn_once_an_epoch_move_as_augmentation_does() -> None:
    augment = Augment(STILL.model_copy(update={"degrees": 20.0, "translate": 0.1}))
    torch.manual_seed(0)
    maps = draw_maps(augment, 3, 12, CPU)
    torch.manual_seed(0)
    pixels = torch.rand(3, 9)
    images = torch.arange(3 * 144).view(3, 1, 12, 12) / 432
    grid = nn.functional.affine_grid(maps, [3, 1, 12, 12], align_corners=False)
    moved = nn.functional.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(moved, warp(images, augment.affine_matrices(pixels, 12, 12)))


@pytest.mark.slow
def test_a_whole_training_restarts_with_every_seed(tmp_path: Path) -> None:
    bench = Bench(settings_of(tmp_path), tmp_path, "digits", CPU, SMALL)
    given = bench.given("experiment=mnist_99_fast", "data=digits", "logger=none")
    data = build_datamodule(given)
    training = WholeTraining(given, data, CPU)
    training.run(1)
    first = [value.clone() for value in training.model.state_dict().values()]
    training.run(2)
    assert not torch.equal(next(iter(training.model.state_dict().values())), first[0])
    training.run(1)
    for value, before in zip(training.model.state_dict().values(), first, strict=True):
        assert torch.equal(value, before)
    assert training.accuracy(training.test) > 0.5
    assert len(training.losses) == 3 * -(-len(data.train_set) // 128)


def test_a_stacked_step_has_the_losses_and_gradients_of_each_network() -> None:
    torch.manual_seed(0)
    own = [nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 4)) for _ in range(3)]
    own = [network.double() for network in own]
    copies = copy.deepcopy(own)
    images, labels = torch.rand(3, 6, 1, 8, 8, dtype=torch.float64), torch.randint(4, (3, 6))
    losses = StackedNetworks(copies).backward(list(images), list(labels))
    for network, stacked, some, their, loss in zip(own, copies, images, labels, losses, strict=True):
        expected = nn.functional.cross_entropy(network(some), their)
        expected.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(loss, expected.detach())
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(stacked.get_parameter(name).grad, parameter.grad, msg=name)
        for name, value in network.named_buffers():
            torch.testing.assert_close(stacked.get_buffer(name), value, msg=name)
