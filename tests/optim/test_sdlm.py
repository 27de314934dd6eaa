import json
from pathlib import Path

import pytest
import torch
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from promise import case
from stopping import SignalAfter
from torch import nn

from lenet_pl.attribution.feature_maps import layer_maps
from lenet_pl.engine.build import build_datamodule
from lenet_pl.evaluate import evaluate
from lenet_pl.export import export
from lenet_pl.inference.trained_run import load_run
from lenet_pl.models.build import build_model
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.schedulers import build_scheduler
from lenet_pl.optim.sdlm import SDLM
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import compose as composition
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.export import ExportSettings
from lenet_pl.train import train

OLD = (
    "model=lenet5_1998",
    "model.fan_in_exponent=0.5",
    "optimizer=sdlm",
    "optimizer.curvature_samples=30",
    "scheduler=piecewise_constant",
    "scheduler.epochs=[1,1]",
    "scheduler.factors=[1,0.4,0.02]",
    "loss.name=map",
    "input_range=[-0.1,1.175]",
    "trainer.precision=32-true",
    "trainer.max_epochs=3",
    "trainer.limit_train_batches=24",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "callbacks=no_early_stopping",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=none",
    "report=none",
)
STEPS = 24


def test_a_step_is_lr_over_mu_plus_curvature() -> None:
    one, two = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([5.0]))
    untouched = nn.Parameter(torch.ones(1))
    optimizer = SDLM([one, two, untouched], 0.5, 0.25)
    optimizer.set_curvature({one: torch.tensor([0.0, 0.75]), two: torch.tensor([3.75]), untouched: torch.ones(1)})
    one.grad, two.grad = torch.tensor([1.0, 2.0]), torch.tensor([-4.0])
    optimizer.step()
    assert one.tolist() == [1 - 0.5 * 1 / 0.25, -2 - 0.5 * 2 / 1]
    assert two.tolist() == [5 + 0.5 * 4 / 4]
    assert untouched.tolist() == [1]


def test_the_published_schedule(compose: Compose) -> None:
    settings = compose("experiment=lenet5_1998_mnist")
    assert settings.trainer.max_epochs == 20
    assert settings.loader.batch_size == 1
    optimizer = build_optimizer(settings.optimizer, [nn.Parameter(torch.zeros(1))])
    built = build_scheduler(settings.scheduler, optimizer, 1)
    assert built
    assert built["interval"] == "epoch"
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        built["scheduler"].step()
    assert rates == pytest.approx([5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8)


def test_the_input_range_is_what_black_and_white_become(compose: Compose) -> None:
    data = build_datamodule(compose("data=fake", "input_range=[-0.1,1.175]", "model=lenet5_1998"))
    levels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 28, 28)
    inputs = data.preprocess(levels)
    torch.testing.assert_close(inputs[0], torch.full((1, 32, 32), -0.1))
    torch.testing.assert_close(inputs[1, :, 2:-2, 2:-2], torch.full((1, 28, 28), 1.175))
    torch.testing.assert_close(inputs[1, 0, 0], torch.full((32,), -0.1))  # padded with background


@pytest.fixture(scope="module")
def straight(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nobody stopped, which tests read and do not change."""
    folder = tmp_path_factory.mktemp("straight")
    train(compose(*OLD, "loader.batch_size=50"), folder)
    return folder


@pytest.mark.slow
def test_the_curvature_is_estimated_before_each_pass(straight: Path, compose: Compose) -> None:
    rows = checkpoint(straight)["callbacks"]["EpochRecorder"]["epochs"]
    assert [row["lr"] for row in rows] == pytest.approx([5e-4, 2e-4, 1e-5])
    state = checkpoint(straight)["optimizer_states"][0]["state"]
    assert all(set(values) == {"curvature"} and values["curvature"].any() for values in state.values())
    model = build_model(compose(*OLD).model, 1, 10)
    assert [v["curvature"].shape for v in state.values()] == [p.shape for p in model.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "stops",
    [
        pytest.param(
            stops, marks=case("resume", f"{text}: last.ckpt and best.ckpt as without interruption, at tolerance 0")
        )
        for text, stops in {
            "sdlm stopped in the middle of epochs": [STEPS // 2, STEPS + 5],
            "sdlm stopped between two estimates of the curvature": [STEPS, 2 * STEPS + 1],
        }.items()
    ],
)
def test_resume_is_exact(stops: list[int], straight: Path, compose: Compose, tmp_path: Path) -> None:
    settings = compose(*OLD, "loader.batch_size=50")
    for step in stops:
        with pytest.raises(Interruption):
            train(settings.model_copy(update={"resume": "auto"}), tmp_path, [SignalAfter(step)])
        assert checkpoint(tmp_path)["global_step"] == step
    train(settings.model_copy(update={"resume": True}), tmp_path)
    assert difference(checkpoint(straight), checkpoint(tmp_path)) == []
    assert difference(checkpoint(straight, "best"), checkpoint(tmp_path, "best")) == []


@pytest.mark.slow
def test_only_the_training_loss_is_another(straight: Path) -> None:
    run = load_run(straight / "checkpoints" / "last.ckpt")
    validation = run.load_data().validation_set
    logits = run.predict_logits(validation.images)
    [*_, last] = checkpoint(straight)["callbacks"]["EpochRecorder"]["epochs"]
    assert last["val/loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, validation.labels)), rel=1e-4)
    assert last["train/loss"] > last["val/loss"] + 10  # which still is the distance to the own class's code
    torch.testing.assert_close(torch.tensor(run.preprocess.mean), torch.tensor([0.1 / 1.275]))


@pytest.mark.slow
def test_other_verbs_take_such_a_run(straight: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("safetensors")
    quick = [f"run={straight}", "repeats=1", "min_run_time=0.001", "batch_sizes=[1,3]", "num_threads=1"]
    exported = export(composition.compose("export", ExportSettings, [*quick, f"output_dir={tmp_path / 'export'}"]))
    assert len(exported["files"]) == 3
    assert all(file["check"]["same_class"] == file["check"]["images"] for file in exported["files"])
    asked = [f"run={straight}", f"output_dir={tmp_path / 'evaluate'}"]
    results = evaluate(composition.compose("evaluate", EvaluateSettings, asked))
    own = json.loads((straight / "results.json").read_text())
    assert results["metrics"]["accuracy"] == pytest.approx(own["metrics"]["test/accuracy"], abs=1e-6)


def test_its_feature_maps_are_those_of_both_convolutions(compose: Compose) -> None:
    settings = compose(*OLD)
    model = build_model(settings.model, 1, 10)
    maps = layer_maps(model.eval(), torch.zeros(1, 1, 32, 32))
    assert {name: tuple(values.shape[1:]) for name, values in maps.items()} == {
        "conv1": (6, 28, 28),
        "conv2": (16, 10, 10),
    }
