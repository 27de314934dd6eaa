import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Compose
from forked_command import run_forked
from promise import case
from quiet import WITHOUT_FIGURES
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedKFold
from stopping import InterruptingHandler

from lenet_pl.compare import compare
from lenet_pl.compare.run_index import find_runs
from lenet_pl.engine.trainer import silence_lightning_logs
from lenet_pl.errors import SettingError
from lenet_pl.evaluate import evaluate
from lenet_pl.inference.trained_run import load_run
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.signals import Interruption
from lenet_pl.search import build_space
from lenet_pl.settings import compose as composition
from lenet_pl.settings.compare import CompareSettings
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.search import SearchSettings
from lenet_pl.train import train, train_one
from lenet_pl.train.folds import train_folds
from lenet_pl.train.resume import begin_or_resume

SHORT = (*WITHOUT_FIGURES, "trainer.max_epochs=2", "trainer.limit_train_batches=6")


@pytest.fixture(scope="module")
def crossed(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation on digits with three folds; tests must not modify it."""
    folder = tmp_path_factory.mktemp("crossed")
    train(compose(*SHORT, "folds=3"), folder)
    return folder


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def test_every_image_is_predicted_once_by_a_network_that_does_not_know_it(crossed: Path) -> None:
    digits = load_digits()
    with (crossed / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(int(row["image"]) for row in rows) == list(range(len(digits.target)))
    assert all(int(row["true"]) == digits.target[int(row["image"])] for row in rows)
    expected = StratifiedKFold(3, shuffle=True, random_state=1998).split(digits.target, digits.target)
    for number, (_, held_out) in enumerate(expected, 1):
        assert [int(row["image"]) for row in rows if row["fold"] == str(number)] == held_out.tolist()


def test_means_and_the_pooled_matrix_are_those_of_scikit_learn(crossed: Path) -> None:
    found = results(crossed)
    each = [results(crossed / f"fold_{number}")["metrics"]["test/accuracy"] for number in (1, 2, 3)]
    assert found["metrics"]["test/accuracy"] == pytest.approx(np.mean(each), abs=1e-6)
    assert found["std"]["test/accuracy"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)
    assert [one["metrics"]["test/accuracy"] for one in found["each"]] == each
    with (crossed / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    true, predicted = ([row[key] for row in rows] for key in ("true", "predicted"))
    assert found["confusion_matrix"]["counts"] == confusion_matrix(true, predicted).tolist()
    assert found["pooled"]["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    with (crossed / "confusion_matrix.csv").open() as stream:
        matrix = list(csv.reader(stream))
    assert [row[1:] for row in matrix[1:]] == [list(map(str, row)) for row in found["confusion_matrix"]["counts"]]
    assert (crossed / "confusion_matrix.png").stat().st_size > 1000
    sizes = [results(crossed / f"fold_{number}")["images"]["test"] for number in (1, 2, 3)]
    assert found["pooled"]["accuracy"] == pytest.approx(np.average(each, weights=sizes), abs=1e-6)


def test_a_fold_is_a_run_for_every_command(
    crossed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], compose: Compose
) -> None:
    index = find_runs([str(crossed)])
    assert [(run.value("fold"), run.problem) for run in index.runs] == [(1, None), (2, None), (3, None)]
    given = [f"run={crossed / 'fold_2'}", f"output_dir={tmp_path / 'out'}"]
    found = evaluate(composition.compose("evaluate", EvaluateSettings, given))
    assert found["metrics"]["accuracy"] == pytest.approx(results(crossed / "fold_2")["metrics"]["test/accuracy"])
    assert found["images_trained_on"] == 0
    compare(composition.compose("compare", CompareSettings, [f"runs={crossed}"]), tmp_path)
    group = json.loads((tmp_path / "compare.json").read_text())["groups"][0]
    assert group["n"] == 3
    assert group["test/accuracy mean"] == pytest.approx(results(crossed)["metrics"]["test/accuracy"], abs=1e-6)
    notes = json.loads((tmp_path / "compare.json").read_text())["notes"]
    assert notes == [
        "lenet5, digits: the folds share training images, so their spread and intervals understate the uncertainty"
    ]
    for place, line in {
        f"{crossed}": f"it contains the runs of several folds; must be one of them, such as run={crossed}/fold_1",
        f"[{crossed}/fold_1,{crossed}/fold_2]": "must be runs of one fold, or another dataset with data=<choice>",
    }.items():
        with pytest.raises(Exception, match=r"^run: ") as caught:
            evaluate(composition.compose("evaluate", EvaluateSettings, [f"run={place}"]))
        assert str(caught.value).endswith(line)


def test_a_fold_alone_is_the_same_training(compose: Compose, crossed: Path, tmp_path: Path) -> None:
    train(compose(*SHORT, "data.split.fold={number:2,of:3,group:null}"), tmp_path)
    one, other = (load_checkpoint(place / "checkpoints" / "last.ckpt") for place in (tmp_path, crossed / "fold_2"))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    lines = [(place / "config.yaml").read_text().splitlines() for place in (tmp_path, crossed / "fold_2")]
    assert {line.partition(":")[0] for line in set(lines[0]) ^ set(lines[1])} == {"run"}


@case("resume", "a cross-validation, in any of its folds")
@pytest.mark.parametrize("checks", [5, 24])
def test_an_interrupted_cross_validation_resumes_exactly(
    compose: Compose, crossed: Path, tmp_path: Path, checks: int
) -> None:
    given = compose(*SHORT, "folds=3", f"run={tmp_path}")
    silence_lightning_logs()
    with pytest.raises(Interruption):
        train_folds(given, tmp_path, InterruptingHandler(checks), train_one)
    assert not (tmp_path / "results.json").exists()
    again = begin_or_resume(given.model_copy(update={"resume": True}), tmp_path, [], False)
    assert again is not None
    train(again, tmp_path)
    for number in (1, 2, 3):
        one, other = (
            load_checkpoint(place / f"fold_{number}" / "checkpoints" / "last.ckpt")["state_dict"]
            for place in (tmp_path, crossed)
        )
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert results(tmp_path)["confusion_matrix"] == results(crossed)["confusion_matrix"]
    assert begin_or_resume(given.model_copy(update={"resume": "auto"}), tmp_path, [], False) is None


def test_without_a_test_there_is_no_pooled_matrix(compose: Compose, tmp_path: Path) -> None:
    found = train(compose(*SHORT, "folds=2", "test=false", "trainer.max_epochs=1"), tmp_path)
    assert "pooled" not in found
    assert not (tmp_path / "predictions.csv").exists()
    assert load_run(tmp_path / "fold_1" / "checkpoints" / "best.ckpt").settings.data.split.fold is not None


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["folds=1"], "folds: got 1; must be greater than or equal to 2 or null"),
        (
            ["folds=3", "seeds=[0,1]"],
            "folds: got 3 with seeds=[0, 1]; must be one of the two, or use -m seed=0,1 folds=3",
        ),
        (["folds_group=_"], "folds_group: got '_' without folds; must be null, or folds=<number>"),
        (
            ["folds=3", "folds_group=_"],
            "data: got digits with groups of images, which it does not know; must be folder or arrays, or "
            "folds_group=null",
        ),
        (["folds=300"], "folds: got 300, but 8 has 174 images; must be at most 174, or add images"),
        (
            ["folds=3", "trainer.devices=2"],
            "trainer.devices: got 2 with folds; must be 1, or train the folds one by one with data.split.fold",
        ),
    ],
)
def test_mistakes_are_one_line(
    overrides: list[str], line: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    done = run_forked("lenet_pl.train", f"run={tmp_path / 'run'}", *overrides, env=command_environment)
    assert (done.returncode, done.stderr) == (2, f"error: {line}\n")
    assert not list((tmp_path / "run").glob("[!.]*"))


def test_a_search_takes_no_folds(tmp_path: Path) -> None:
    settings = composition.compose("search", SearchSettings, [f"run={tmp_path}", "folds=3"])
    with pytest.raises(SettingError, match=r"^folds: got 3; must be null"):
        build_space(settings)
