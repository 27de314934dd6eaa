import json
from pathlib import Path

import pytest

from lenet_pl.benchmark import during_training, results, side_by_side
from lenet_pl.errors import DataError
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings

DURING = {
    "evaluate": {"alone": 5.0, "during": 6.0},
    "demo": {"alone": 0.01, "during": 0.02},
    "training": {"alone": 1000.0, "with_demo": 900.0},
}


@pytest.mark.long
def test_trainings_at_once_are_compared_with_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "AT_ONCE", (1, 2))
    monkeypatch.setattr(side_by_side, "EPOCHS", 3)
    monkeypatch.setattr(side_by_side, "measure_during_training", lambda *_: DURING)
    words = ["output_dir=unused", "models=[lenet_sigmoid]", "rounds=1", "seconds=0.01", f"data_root={tmp_path}"]
    settings = composition.compose("benchmark", BenchmarkSettings, words)
    found = side_by_side.measure_side_by_side(settings, tmp_path, "digits")
    assert [(row["way"], row["at_once"]) for row in found["rows"]] == [
        (way, count) for way in ("default", "all cores, spinning") for count in (1, 2)
    ]
    assert [row["to_one_after_another"] for row in found["rows"] if row["at_once"] == 1] == [1, 1]
    assert all(row["images_per_second"] > 0 for row in found["rows"])
    threads = {
        way: {json.loads(path.read_text())["threads"] for path in tmp_path.glob(f"0-*-{way[:3]}-*/*/results.json")}
        for way in ("default", "all cores, spinning")
    }
    assert threads == {"default": {1}, "all cores, spinning": {side_by_side.usable_cores()}}
    table = results.TABLES["side_by_side"](found)
    assert "lenet_sigmoid" in table
    assert "`evaluate` takes 5.00 s alone and 6.00 s during" in table
    assert "10 ms alone and 20 ms during a training, which has 0.90 of its rate" in table


@pytest.mark.long
def test_commands_are_timed_alone_and_during_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(during_training, "EPOCHS", 2)
    monkeypatch.setattr(during_training, "DRAWINGS", 10)
    given = ["data=digits", "logger=none", "callbacks=no_early_stopping"]
    found = during_training.measure_during_training(tmp_path, given, 1)
    for name in ("evaluate", "demo", "training"):
        assert min(found[name].values()) > 0, name


def test_a_training_that_ends_by_itself_is_no_measurement(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="run: the training ended by itself; error: model"),
        during_training.endless_training(tmp_path / "run", ["data=digits", "model=unknown"]),
    ):
        pass
