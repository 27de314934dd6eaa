import contextlib
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lenet_pl.compare import compare
from lenet_pl.compare.evaluations import with_evaluations
from lenet_pl.compare.run import Run
from lenet_pl.compare.run_index import find_runs
from lenet_pl.compare.setting_values import MISSING
from lenet_pl.evaluate import evaluate
from lenet_pl.settings import compose as composition
from lenet_pl.settings.compare import CompareSettings
from lenet_pl.settings.evaluate import EvaluateSettings


def ask(*overrides: str) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        return evaluate(composition.compose("evaluate", EvaluateSettings, list(overrides)))


@pytest.fixture(scope="module")
def runs(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, one tested on nine views, both as an ensemble, one scored on its validation part."""
    root = tmp_path_factory.mktemp("evaluated")
    for name in ("a", "b"):
        shutil.copytree(digits_run, root / name)
    ask(f"run={root}/a", "tta.shift=1")
    ask(f"run=[{root}/a,{root}/b]", f"output_dir={root}/ensemble")
    ask(f"run={root}/b", "split=val")
    return root


def test_each_evaluation_is_a_row_with_its_figures(runs: Path, digits_run: Path) -> None:
    index = with_evaluations(find_runs([str(runs)]), "test/accuracy")
    found = index.runs
    asked = sorted((run.value("networks"), run.value("views")) for run in found)
    assert (asked, index.skipped) == ([(1, 1), (1, 1), (1, 9), (2, 1)], 1)
    trained = json.loads((digits_run / "results.json").read_text())
    (nine,) = [run for run in found if run.value("views") == 9]
    said = json.loads((nine.folder / "results.json").read_text())
    assert nine.results["metrics"]["test/accuracy"] == said["metrics"]["accuracy"]
    assert nine.results["images"] == trained["images"]

    (both,) = [run for run in found if run.value("networks") == 2]
    accuracy = both.results["metrics"]["test/accuracy"]  # of the same network twice; a training's is rounded
    assert accuracy == pytest.approx(trained["metrics"]["test/accuracy"], abs=1e-5)
    assert both.value("parameters") == 2 * trained["parameters"]
    assert both.value("training_seconds") == 2 * trained["training_seconds"]
    assert both.value("optimizer.lr") == 0.001
    assert both.epochs("val/accuracy") == Run(digits_run).epochs("val/accuracy")


def test_to_compare_on_the_validation_part_its_evaluations_are_taken(runs: Path) -> None:
    index = with_evaluations(find_runs([str(runs)]), "best/val/accuracy")
    (validation,) = [run for run in index.runs if run.value("split") == "val"]
    assert (len(index.runs), index.skipped) == (3, 2)
    trained = json.loads((runs / "b" / "results.json").read_text())
    accuracy = validation.results["metrics"]["best/val/accuracy"]
    assert accuracy == pytest.approx(trained["metrics"]["best/val/accuracy"], abs=1e-5)


def test_a_table_of_views_and_ensembles(runs: Path, tmp_path: Path) -> None:
    settings = [f"runs={runs}", "group_by=model", "include_evaluations=true"]
    with contextlib.redirect_stdout(io.StringIO()):
        compare(composition.compose("compare", CompareSettings, settings), tmp_path)
    with (tmp_path / "compare.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert sorted((line["networks"], line["views"], line["runs"]) for line in lines) == [
        ("1", "1", "2"),
        ("1", "9", "1"),
        ("2", "1", "1"),
    ]


def test_without_being_asked_they_are_passed_over(runs: Path) -> None:
    index = find_runs([str(runs)])
    assert (len(index.runs), len(index.evaluations), index.skipped) == (2, 3, 3)
    assert all(run.value("views") is MISSING for run in index.runs)


def test_a_moved_run_takes_its_evaluation_along(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "moved")
    evaluation = next((tmp_path / "moved" / "evaluate").glob("*/results.json"))
    evaluation.write_text(json.dumps(json.loads(evaluation.read_text()) | {"run": "/nowhere/else"}))
    (row,) = [
        run for run in with_evaluations(find_runs([str(tmp_path)]), "test/accuracy").runs if run.value("views") == 9
    ]
    assert (row.problem, row.origin) == (None, tmp_path / "moved")


def test_an_evaluation_without_its_run_and_a_damaged_one_are_listed_with_the_reason(runs: Path, tmp_path: Path) -> None:
    content = json.loads((runs / "ensemble" / "results.json").read_text())
    for name, changes in {"gone": {"runs": [{"run": str(tmp_path / "x")}]}, "damaged": {"tta": 9}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(content | changes))
    problems = {
        run.folder.name: run.problem for run in with_evaluations(find_runs([str(tmp_path)]), "test/accuracy").runs
    }
    assert str(problems["gone"]).startswith(f"its run {tmp_path / 'x'}: results.json unreadable")
    assert str(problems["damaged"]).startswith("results.json is corrupt: tta is 9")
