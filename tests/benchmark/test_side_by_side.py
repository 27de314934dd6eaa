import json
from pathlib import Path

import pytest

from lenet_pl.benchmark import results, side_by_side
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings


@pytest.mark.slow
def test_trainings_at_once_are_compared_with_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "AT_ONCE", (1, 2))
    monkeypatch.setattr(side_by_side, "EPOCHS", 3)
    words = ["output_dir=unused", "models=[lenet_sigmoid]", "rounds=1", "seconds=0.01", f"data_root={tmp_path}"]
    settings = composition.compose("benchmark", BenchmarkSettings, words)
    found = side_by_side.measure_side_by_side(settings, tmp_path, "digits")
    assert [(row["way"], row["at_once"]) for row in found["rows"]] == [
        (way, count) for way in ("default", "all cores, spinning") for count in (1, 2)
    ]
    assert [row["to_one_after_another"] for row in found["rows"] if row["at_once"] == 1] == [1, 1]
    assert all(row["images_per_second"] > 0 for row in found["rows"])
    assert min(found["evaluate"].values()) > 0
    threads = {
        way: {json.loads(path.read_text())["threads"] for path in tmp_path.glob(f"0-*-{way[:3]}-*/*/results.json")}
        for way in ("default", "all cores, spinning")
    }
    assert threads == {"default": {1}, "all cores, spinning": {side_by_side.usable_cores()}}
    assert "lenet_sigmoid" in results.TABLES["side_by_side"](found)
