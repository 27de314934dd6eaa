import csv
import json
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
import yaml
from conftest import Compose
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix
from torch import Tensor
from torch.nn import functional

from lenet_pl.artifacts.report import write_report
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule
from lenet_pl.models.build import build_model
from lenet_pl.runtime.environment import describe_environment
from lenet_pl.settings import TrainSettings, validate
from lenet_pl.settings.compose import to_settings
from lenet_pl.train import train

OVERRIDES = (
    "trainer.accelerator=cpu",
    "trainer.max_epochs=5",
    "seed=3",
    "optimizer.lr=0.005",
    "callbacks.progress_bar=false",
)
PICTURES = ("curves.png", "samples.png", "filters.png", "feature_maps.png", "confusion_matrix.png", "misclassified.png")


@pytest.fixture(scope="module")
def folder(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a finished run on digits."""
    path = tmp_path_factory.mktemp("run")
    train(compose(*OVERRIDES), path)
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def data(compose: Compose) -> ImageDataModule:
    return build_datamodule(compose(*OVERRIDES))


@pytest.fixture(scope="module")
def tested(folder: Path, data: ImageDataModule, compose: Compose) -> tuple[Tensor, Tensor]:
    """Logits and labels of the test part, from the best checkpoint by plain torch."""
    model = build_model(compose(*OVERRIDES).model, 1, 10)
    state = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
    with torch.no_grad():
        return model.eval()(data.preprocess(data.test_set.images)), data.test_set.labels


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_run_folder_is_complete_and_holds_nothing_else(folder: Path) -> None:
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    events = {name for name in there if name.startswith("tensorboard/events.out.tfevents")}
    assert events
    assert there - events - {"tensorboard/hparams.yaml"} == {
        "config.yaml", "data.json", "metrics.csv", "results.json", "report.html", "checkpoints/best.ckpt",
        "checkpoints/last.ckpt", *PICTURES,
    }  # fmt: skip
    for name in PICTURES:
        with Image.open(folder / name) as picture:
            picture.verify()
            assert min(picture.size) > 100


def test_config_yaml_is_the_settings_again(folder: Path, compose: Compose) -> None:
    settings = compose(*OVERRIDES)
    assert validate(TrainSettings, yaml.safe_load((folder / "config.yaml").read_text())) == settings
    with hydra.initialize_config_dir(str(folder), version_base="1.3"):
        assert to_settings(TrainSettings, hydra.compose("config")) == settings


def test_results_agree_with_scikit_learn(
    results: dict[str, Any], tested: tuple[Tensor, Tensor], data: ImageDataModule
) -> None:
    logits, labels = tested
    matrix = confusion_matrix(labels, logits.argmax(1))
    assert results["metrics"]["test/accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert results["metrics"]["test/accuracy"] > 0.8  # something was learned
    assert results["metrics"]["test/loss"] == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-4)
    each = [matrix[k, k] / matrix[k].sum() for k in range(10)]
    assert results["per_class_accuracy"] == dict(zip(data.classes, map(pytest.approx, each), strict=True))
    both = max((matrix[i, j] + matrix[j, i], i, j) for i in range(10) for j in range(i))
    pair = results["most_confused"]
    first, second = (data.classes.index(name) for name in pair["classes"])
    assert pair["count"] == both[0] == matrix[first, second] + matrix[second, first]


def test_results_count_what_there_was(results: dict[str, Any], folder: Path, data: ImageDataModule) -> None:
    assert (results["model"], results["data"], results["seed"]) == ("lenet5", "digits", 3)
    assert results["parameters"] == 61_706
    assert results["images"] == {"train": 1_222, "validation": 216, "test": 359}
    assert sum(results["images"].values()) == 1_797
    assert results["epochs"] == len(rows(folder)) == 5
    assert results["stopped_early"] is False
    assert results["training_seconds"] == pytest.approx(sum(float(r["seconds"]) for r in rows(folder)), abs=0.01)
    assert 0 < results["training_seconds"] < results["total_seconds"]
    assert results["images_per_second"] == pytest.approx(5 * 1_222 / results["training_seconds"], rel=0.2)


def test_the_best_epoch_is_the_first_with_the_best_validation_accuracy(results: dict[str, Any], folder: Path) -> None:
    accuracies = [float(row["val/accuracy"]) for row in rows(folder)]
    best = accuracies.index(max(accuracies))
    assert results["best_epoch"] == best + 1
    row = rows(folder)[best]
    for key in ("val/loss", "val/accuracy", "train/loss", "train/accuracy"):
        assert results["metrics"][f"best/{key}"] == pytest.approx(float(row[key]), rel=1e-4)
    loaded = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert loaded["epoch"] == best


def test_metrics_csv_has_a_row_per_epoch(folder: Path) -> None:
    assert [int(row["epoch"]) for row in rows(folder)] == list(range(5))
    assert [int(row["step"]) for row in rows(folder)] == [10, 20, 30, 40, 50]  # 1,222 images by 128
    assert all(float(value) > 0 for row in rows(folder) for key, value in row.items() if key != "epoch")


def test_checkpoints_are_plain_data_that_says_what_it_is(folder: Path, data: ImageDataModule, compose: Compose) -> None:
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (4, 50)
    described = last["hyper_parameters"]
    assert validate(TrainSettings, described["settings"]) == compose(*OVERRIDES)
    assert described["classes"] == list("0123456789")
    assert described["channels"] == 1
    pixels = data.train_set.images / 255
    assert described["mean"] == pytest.approx([float(pixels.mean())])
    assert described["std"] == pytest.approx([float(pixels.std())], rel=1e-3)


def test_results_are_json_without_extensions(folder: Path) -> None:
    json.loads((folder / "results.json").read_text(), parse_constant=pytest.fail)


def test_the_report_refers_to_nothing_outside_itself(folder: Path) -> None:
    text = (folder / "report.html").read_text()
    references = re.findall(r"(?:src|href|srcset|action|data)\s*=\s*[\"']?([^\"'>\s]{1,30})", text)
    assert len(references) == len(PICTURES)
    assert all(reference.startswith("data:image/png;base64,") for reference in references)
    shown = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    for word in ("http://", "https://", "//cdn", "<script", "<link", "@import", "url(", "<iframe"):
        assert word not in shown


def test_the_report_shows_scores_settings_and_versions(folder: Path, results: dict[str, Any]) -> None:
    text = (folder / "report.html").read_text()
    for shown in (
        "lenet5 on digits, seed 3",
        f"{results['metrics']['test/accuracy']:.4f}",
        "61,706",
        "batch_size: 128",
        metadata.version("lightning"),
    ):
        assert shown in text


def test_the_report_escapes_what_users_name(tmp_path: Path, results: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    write_report(tmp_path, {**results, "model": evil, "command": evil}, {"run": evil})
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 4


def test_the_environment_is_described_in_plain_values(results: dict[str, Any]) -> None:
    described = describe_environment(torch.device("cpu"))
    assert json.loads(json.dumps(described)) == described
    assert described["versions"]["torch"] == str(torch.__version__)
    assert described["versions"]["lightning"] == metadata.version("lightning")
    assert described["cores"] == os.cpu_count()
    assert described["device"].startswith("cpu: ")
    assert set(described) <= set(results)
