import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lenet_pl.artifacts.ledger import COLUMNS, ledger_path, read_uses, record_evaluation, record_training
from lenet_pl.compare.run_index import find_runs
from lenet_pl.compare.split_uses import SplitUses, count_uses
from lenet_pl.evaluate import evaluate
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.train import train

Compose = Callable[..., TrainSettings]
QUICK = ("trainer.limit_train_batches=1", "logger=none", "callbacks.progress_bar=false", "report=none", "model=lenet1")
RESULTS: dict[str, Any] = {
    **{"data": "digits", "data_digest": "1f", "fold": None, "images": {"test": 360}, "test_uses": 1},
    **{"metrics": {"test/accuracy": 0.9}, "command": "python -m lenet_pl.train"},
}


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state" / "uses.csv"
    monkeypatch.setenv("LENET_PL_TEST_USES", str(path))
    return path


def quietly(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    with contextlib.redirect_stdout(io.StringIO()):
        return work()


def test_each_use_is_a_line_that_outlives_its_run(compose: Compose, ledger: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    quietly(lambda: train(compose(*QUICK, "trainer.max_epochs=1"), run))
    more = compose(*QUICK, "trainer.max_epochs=2", f"run={run}", "resume=true")
    quietly(lambda: train(more, run))
    for overrides in (["tta.shift=1"], ["split=val"]):
        settings = composition.compose("evaluate", EvaluateSettings, [f"run={run}", "report=none", *overrides])
        quietly(lambda settings=settings: evaluate(settings))  # type: ignore[misc]
    lines = list(read_uses())
    assert [line["purpose"] for line in lines] == ["after training", "after further training", "evaluation with TTA"]
    assert {(line["data"], line["split"], line["images"], line["run"]) for line in lines} == {
        ("digits", "test", "359", str(run))
    }
    results = json.loads((run / "results.json").read_text())
    assert float(lines[1]["accuracy"]) == results["metrics"]["test/accuracy"]
    assert (results["test_uses"], results["notes"]) == (2, [])

    (uses,) = count_uses(find_runs([str(tmp_path)]))
    assert (uses.runs, uses.by_training, uses.by_evaluate, uses.in_ledger) == (1, 2, 1, 3)
    assert uses.describe() == "test split of digits: used 3 times by 1 run, 1 of them by evaluate"
    shutil.rmtree(run / "evaluate")
    (uses,) = count_uses(find_runs([str(tmp_path)]))
    today = lines[0]["time"][:10]
    assert uses.describe().endswith(f"used 2 times by 1 run; 3 times since {today} by all runs of this account")


def test_a_training_without_a_writable_ledger_has_a_note(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LENET_PL_TEST_USES", str(tmp_path / "file" / "uses.csv"))
    results = train(compose(*QUICK, "trainer.max_epochs=1"), tmp_path / "run")
    (note,) = [note for note in results["notes"] if "ledger" in note]
    assert note.startswith("this test in the ledger of test splits is missing: ")
    assert f"note: {note}" in capsys.readouterr().err
    assert list(read_uses()) == []


def test_lines_of_many_writers_stay_whole(ledger: Path) -> None:
    with ThreadPoolExecutor(8) as writers:
        jobs = [writers.submit(record_training, RESULTS, Path(f"{k} " + "x" * 5000), None) for k in range(64)]
    assert all(job.result() is None for job in jobs)
    with ledger.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == list(COLUMNS)
    assert sorted(int(Path(row[7]).name.split()[0]) for row in rows[1:]) == list(range(64))


def test_a_line_that_was_cut_off_spoils_no_other(ledger: Path) -> None:
    record_training(RESULTS, Path("a"), None)
    with ledger.open("ab") as stream:
        stream.write(b'2026-11-28T00:00:00Z,"dig')
    record_training(RESULTS | {"command": "python\n-m"}, Path("b"), None)
    assert [Path(line["run"]).name for line in read_uses()] == ["a", "b"]
    ledger.write_text("another,file\n1,2\n")
    assert list(read_uses()) == []


def test_what_is_no_use_of_the_test_split_is_told_apart(ledger: Path, tmp_path: Path) -> None:
    record_training(RESULTS | {"images": {"test": 0}, "metrics": {}}, tmp_path, None)
    assert not ledger.exists()
    record_training(RESULTS | {"fold": 2}, tmp_path, 5)
    evaluation = RESULTS | {"images": 360, "metrics": {"accuracy": 0.9}, "tta": {"shift": 0, "hflip": False}}
    record_evaluation(evaluation | {"split": "val"}, None)
    record_evaluation(evaluation | {"split": "test", "runs": [{"run": "a"}, {"run": "b"}]}, None)
    assert [(line["split"], line["purpose"]) for line in read_uses()] == [
        ("fold 2 of 5", "after training"),
        ("test", "evaluation of 2 networks"),
    ]


def test_where_it_lives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LENET_PL_TEST_USES", "")
    assert ledger_path() is None
    record_training(RESULTS, tmp_path, None)
    monkeypatch.delenv("LENET_PL_TEST_USES")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert ledger_path() == tmp_path / "lenet_pl" / "test_uses.csv"
    assert list(read_uses()) == []


def test_one_use_is_once() -> None:
    assert SplitUses("digits", "", 1, 1).describe() == "test split of digits: used once by 1 run"
