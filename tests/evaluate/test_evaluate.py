import contextlib
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import needs_fashion
from PIL import Image
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from lenet_pl.data.emnist import emnist
from lenet_pl.data.published import PUBLISHED
from lenet_pl.errors import DataError, SettingError
from lenet_pl.evaluate import evaluate
from lenet_pl.inference.trained_run import load_run
from lenet_pl.settings import compose as composition
from lenet_pl.settings.evaluate import EvaluateSettings

PICTURES = ("confusion_matrix", "misclassified", "reliability")


def asked(*overrides: str) -> EvaluateSettings:
    return composition.compose("evaluate", EvaluateSettings, list(overrides))


def settings_for(run: Path, out: Path, *overrides: str) -> EvaluateSettings:
    return asked(f"run='{run}'", f"output_dir='{out}'", *overrides)


@pytest.fixture(scope="module")
def tested(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """Results, folder and printed text for the run's own test images."""
    folder, printed = tmp_path_factory.mktemp("tested"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        return evaluate(settings_for(digits_run, folder)), folder, printed.getvalue()


def test_figures_equal_scikit_learns(digits_run: Path, tested: tuple[dict[str, Any], Path, str]) -> None:
    results, folder, _ = tested
    run = load_run(digits_run / "checkpoints" / "best.ckpt")
    test = run.load_data().test_set
    logits, labels = run.predict_logits(test.images).double().numpy(), test.labels.numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predicted = logits.argmax(1)

    by_class = precision_recall_fscore_support(labels, predicted)
    for key, values in zip(("precision", "recall", "f1", "support"), by_class, strict=True):
        assert [row[key] for row in results["per_class"].values()] == pytest.approx(values)
    macro = precision_recall_fscore_support(labels, predicted, average="macro")[:3]
    metrics = results["metrics"]
    assert [metrics[f"macro_{key}"] for key in ("precision", "recall", "f1")] == pytest.approx(macro)
    assert metrics["top3_accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=3))
    assert metrics["loss"] == pytest.approx(log_loss(labels, probabilities))
    assert results["confusion_matrix"]["counts"] == confusion_matrix(labels, predicted).tolist()
    assert results["images"] == len(labels) == 359
    assert json.loads((folder / "results.json").read_text()) == results


def test_the_tables_show_the_figures(tested: tuple[dict[str, Any], Path, str]) -> None:
    results, folder, printed = tested
    for row in results["per_class"].values():
        assert " │ ".join(f"{row[key]:.4f}" for key in ("recall", "f1")) in printed
    for key in ("accuracy", "loss", "top3_accuracy", "calibration_error"):
        assert f" {results['metrics'][key]:.4f} " in printed
    assert folder.name in printed.replace("│", "").replace("\n", "").replace(" ", "")


def test_the_runs_own_figures_come_out_again(
    digits_run: Path, tmp_path: Path, tested: tuple[dict[str, Any], Path, str]
) -> None:
    trained = json.loads((digits_run / "results.json").read_text())
    validation = evaluate(settings_for(digits_run, tmp_path / "validation", "split=val"))
    for results, part, name in ((tested[0], "test", "test"), (validation, "validation", "best/val")):
        for metric in ("accuracy", "loss"):
            assert results["metrics"][metric] == pytest.approx(trained["metrics"][f"{name}/{metric}"], abs=2e-6)
        assert results["images"] == trained["images"][part]


def test_results_name_what_was_tested_and_pictures_can_be_opened(
    digits_run: Path, tested: tuple[dict[str, Any], Path, str]
) -> None:
    results, folder, _ = tested
    assert (results["task"], results["data"], results["split"]) == ("evaluate", "digits", "test")
    best = (digits_run / "checkpoints" / "best.ckpt").read_bytes()
    assert results["checkpoint_sha256"] == hashlib.sha256(best).hexdigest()
    assert {"device", "versions", "command"} <= results.keys()
    for name in PICTURES:
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("L").getcolors() or []) > 10


def test_a_checkpoint_and_its_own_data_by_name_say_the_same(
    digits_run: Path, tmp_path: Path, tested: tuple[dict[str, Any], Path, str]
) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes((digits_run / "checkpoints" / "best.ckpt").read_bytes())
    assert evaluate(asked(f"ckpt_path='{copy}'", "data=digits"))["metrics"] == tested[0]["metrics"]
    assert len(list((tmp_path / "evaluate").iterdir())) == 1


@needs_fashion
def test_a_set_of_as_many_classes_with_other_names_is_refused(digits_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^data: fashion has the class 'T-shirt/top' where this network has '0'; mus"):
        evaluate(settings_for(digits_run, tmp_path / "out", "data=fashion"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [None, "0123456789", "0123456798"])
def test_another_set_of_the_same_classes_is_tested(digits_run: Path, tmp_path: Path, names: str | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_images.npy", pixels)
        np.save(tmp_path / f"{part}_labels.npy", np.arange(40) % 10)
    if names:
        (tmp_path / "classes.txt").write_text("\n".join(names))
    wanted = ("data=arrays", f"data.path='{tmp_path}'", "data.display_name=noise", "data.split.val_size=0.5")
    given = settings_for(digits_run, tmp_path / "out", *wanted)
    if names == "0123456798":
        with pytest.raises(DataError, match="noise has the class '9' where this network has '8'; must be a set"):
            evaluate(given)
        return
    results = evaluate(given)
    assert (results["images"], results["data"]) == (40, "noise")
    assert results["metrics"]["accuracy"] < 0.5  # noise says nothing


def test_published_digits_have_the_names_of_one_another() -> None:
    names = {PUBLISHED[name].classes for name in ("mnist", "qmnist", "usps")}
    assert names | {emnist(variant).classes for variant in ("digits", "mnist")} == {tuple("0123456789")}


def test_a_set_of_other_classes_or_colours_is_refused(digits_run: Path, tmp_path: Path) -> None:
    for wrong, came in (("data.classes=4", "4 classes and 1"), ("data.channels=3", "10 classes and 3")):
        with pytest.raises(DataError, match=came):
            evaluate(settings_for(digits_run, tmp_path / "out", "data=fake", wrong))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("split=train", "split: got 'train'; must be 'test' or 'val'"),
        ("+data.name=digits", "data.split: no value given"),
    ],
)
def test_wrong_settings_are_answered(override: str, answer: str) -> None:
    with pytest.raises(SettingError, match=answer):
        asked("run=somewhere", override)


def test_a_network_of_broken_weights_is_refused(digits_run: Path, tmp_path: Path) -> None:
    content = torch.load(digits_run / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"]["model.classifier.output.weight"] *= 3e38  # finite, and too large to go on with
    content["state_dict"]["model.classifier.output.weight"].clamp_(-3e38, 3e38)
    torch.save(content, tmp_path / "large.ckpt")
    with pytest.raises(DataError, match=r"large\.ckpt: produces NaN or infinite logits for 359 images"):
        evaluate(asked(f"ckpt_path='{tmp_path / 'large.ckpt'}'"))
    assert not (tmp_path / "evaluate").exists()
