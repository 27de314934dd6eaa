import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Compose, needs_fashion

from lenet_pl.artifacts import run_plots
from lenet_pl.errors import DivergenceError, SettingError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import conf_dir
from lenet_pl.train import train

QUIET = ("trainer.accelerator=cpu", "callbacks.progress_bar=false", "logger=none")
FAKE = (*QUIET, "data=fake", "trainer.max_epochs=1")
DEBUG = sorted(path.stem for path in (conf_dir() / "debug").glob("*.yaml"))


def run(settings: TrainSettings, folder: Path) -> tuple[dict[str, Any], set[str]]:
    """Train; return the results and the names of what is in the folder."""
    results = train(settings, folder)
    assert json.loads((folder / "results.json").read_text()) == results
    return results, {path.name for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _few_images_in_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw fewer small images; drawing would take longer than training."""
    monkeypatch.setattr(run_plots, "SAMPLES", 1)


@needs_fashion
@pytest.mark.slow
def test_fashion_is_learned_a_little_in_twenty_steps(compose: Compose, tmp_path: Path) -> None:
    overrides = ("data=fashion", "data.download=false", "trainer.limit_train_batches=20")
    results, _ = run(compose(*FAKE, *overrides, "trainer.limit_val_batches=1", "optimizer.lr=0.005"), tmp_path)
    assert results["images"] == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert results["metrics"]["test/accuracy"] > 0.4


def test_without_training_the_initial_network_is_tested(compose: Compose, tmp_path: Path) -> None:
    results, names = run(compose(*FAKE, "train=false"), tmp_path)
    assert results["epochs"] == 0
    assert results["best_epoch"] is None
    assert set(results["metrics"]) == {"test/loss", "test/accuracy"}
    assert results["metrics"]["test/loss"] == pytest.approx(math.log(10), abs=0.1)  # it knows nothing yet
    assert names >= {"config.yaml", "samples.png", "confusion_matrix.png", "report.html"}
    assert not names & {"checkpoints", "metrics.csv", "curves.png"}


def test_without_testing_the_test_part_is_left_alone(compose: Compose, tmp_path: Path) -> None:
    results, names = run(compose(*FAKE, "test=false"), tmp_path)
    assert results["images"]["test"] == 0
    assert results["per_class_accuracy"] is None
    assert not [key for key in results["metrics"] if key.startswith("test")]
    assert names >= {"checkpoints", "metrics.csv", "curves.png", "report.html"}
    assert not names & {"confusion_matrix.png", "misclassified.png"}


@pytest.mark.parametrize(
    ("report", "figures"), [("light", {"curves.png", "confusion_matrix.png", "report.html"}), ("none", set())]
)
def test_a_report_is_as_short_as_wanted(report: str, figures: set[str], compose: Compose, tmp_path: Path) -> None:
    _, names = run(compose(*FAKE, f"report={report}"), tmp_path)
    assert {name for name in names if name.endswith((".png", ".html"))} == figures


def test_with_neither_nothing_would_be_done(compose: Compose) -> None:
    with pytest.raises(SettingError, match=r"^test: got false with train=false.*; one of them must be true$"):
        compose(*FAKE, "train=false", "test=false")


@pytest.mark.parametrize(
    ("logger", "expected"),
    [("none", set()), ("csv", {"csv"}), ("both", {"csv", "tensorboard"})],
)
def test_loggers_write_where_they_are_asked_to(
    logger: str, expected: set[str], compose: Compose, tmp_path: Path
) -> None:
    _, names = run(compose(*FAKE, f"logger={logger}"), tmp_path)
    assert names & {"csv", "tensorboard", "lightning_logs"} == expected
    assert names >= {"metrics.csv", "curves.png"}


@pytest.mark.parametrize("name", [name for name in DEBUG if name != "overfit"])
def test_each_debug_mode_runs(name: str, compose: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lightning.pytorch")
    results, _ = run(compose(*FAKE[:-1], f"debug={name}"), tmp_path)
    assert results["epochs"] == 1
    assert ("run_training_epoch" in caplog.text) == (name == "profile")


def test_debug_one_batch_takes_one_batch_of_each_part(compose: Compose, tmp_path: Path) -> None:
    overrides = ("debug=fast_dev_run", "loader.batch_size=16", "loader.eval_batch_size=20")
    results, _ = run(compose(*FAKE[:-1], *overrides), tmp_path)
    assert results["images"]["test"] == 20
    assert "\n0,1,0.001," in (tmp_path / "metrics.csv").read_text().replace("\r", "")  # one step


@pytest.mark.slow
def test_debug_overfit_learns_one_batch_by_heart(compose: Compose, tmp_path: Path) -> None:
    run(compose(*QUIET, "debug=overfit", "augment=cifar"), tmp_path)
    last = (tmp_path / "metrics.csv").read_text().splitlines()[-1].split(",")
    assert last[0] == "99"
    assert float(last[3]) < 0.05
    assert float(last[4]) == 1.0


def test_a_gpu_that_is_not_there_is_refused_with_what_is(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for kind in ("gpu", "mps"):
        with pytest.raises(
            SettingError, match=rf"^trainer\.accelerator: got {kind}, not .*; must be one of auto, cpu$"
        ):
            train(compose(*FAKE, f"trainer.accelerator={kind}"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_gpus_than_there_are_are_refused(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        SettingError, match=r"^trainer\.devices: got 3; must be at most 2 on this machine \(cpu, gpu \(2\)\)$"
    ):
        train(compose(*FAKE, "trainer.accelerator=gpu", "trainer.devices=3"), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.precision=16-mixed"], ["trainer.precision", "16-mixed", "32-true"]),
        (["loss.class_weights=[1,2,3]"], ["loss.class_weights", "3 weights", "10 classes", "balanced"]),
        (["loader.batch_size=1000"], ["loader.batch_size", "1000", "192"]),
        (["model.image_size=8"], ["model.image_size", "conv2"]),
        (["model=lenet_bn", "loader.batch_size=191"], ["loader.batch_size", "191", "drop_last"]),
        (["model=lenet_bn", "loader.batch_size=1"], ["loader.batch_size", "1"]),
        (["model=lenet_bn", "loader.batch_size=1", "loader.drop_last=true"], ["loader.batch_size", "1"]),
        # 13 → 9 → 9 → 5 → 1 px: one value per channel of a batch of one image
        (
            ["model.norm=batch_norm", "model.image_size=13", "model.pool_size=1", "model.channels=[[6],[6],[6]]",
             "loader.batch_size=191"],
            ["loader.batch_size", "191"],
        ),
        (["data.split.val_size=256"], ["data.split.val_size", "256"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_in_one_line_before_training(
    overrides: list[str], words: list[str], compose: Compose, tmp_path: Path
) -> None:
    with pytest.raises(SettingError) as error:
        train(compose(*FAKE, *overrides), tmp_path)
    assert [word for word in words if word not in str(error.value)] == []
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_single_batch_of_batch_normalisation_can_be_dropped(compose: Compose, tmp_path: Path) -> None:
    results, _ = run(compose(*FAKE, "model=lenet_bn", "loader.batch_size=191", "loader.drop_last=true"), tmp_path)
    assert results["epochs"] == 1


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_every_precision_of_the_cpu_fills_the_run_folder(precision: str, compose: Compose, tmp_path: Path) -> None:
    _, names = run(compose(*FAKE, "logger=tensorboard", "augment=affine", f"trainer.precision={precision}"), tmp_path)
    assert names >= {"report.html", "confusion_matrix.png", "tensorboard"}


def test_a_training_that_explodes_leaves_no_results(compose: Compose, tmp_path: Path) -> None:
    overrides = ("optimizer=sgd", "optimizer.lr=1000", "trainer.max_epochs=9", "loader.batch_size=16")
    with pytest.raises(DivergenceError):
        train(compose(*FAKE, *overrides), tmp_path)
    assert (tmp_path / "config.yaml").exists()
    assert not (tmp_path / "results.json").exists()


def test_colour_and_many_classes_make_pictures_too(compose: Compose, tmp_path: Path) -> None:
    overrides = ("data.channels=3", "data.classes=47", "model=cnn3_bn", "augment=cifar")
    results, names = run(compose(*FAKE, *overrides), tmp_path)
    assert len(results["per_class_accuracy"]) == 47
    assert names >= {"samples.png", "confusion_matrix.png", "misclassified.png"}


def test_a_test_without_mistakes_makes_pictures_too(compose: Compose, tmp_path: Path) -> None:
    overrides = ("data.classes=2", "model=lenet_bn", "trainer.max_epochs=3", "loader.batch_size=32")
    results, names = run(compose(*FAKE, *overrides), tmp_path)
    assert results["metrics"]["test/accuracy"] == 1
    assert results["most_confused"] is None
    assert "misclassified.png" in names


def test_the_printed_table_says_what_the_results_say(
    compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, _ = run(compose(*FAKE, "logger=tensorboard"), tmp_path)
    printed = capsys.readouterr().out
    assert "lenet5 on fake, seed 0" in printed
    assert f"{results['metrics']['test/accuracy']:.4f} of 64 images" in printed
    assert printed.count("61,706") == 2  # of the layers and of the run
    assert "tensorboard --logdir" in printed
