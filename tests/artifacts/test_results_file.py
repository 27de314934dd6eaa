import json
from pathlib import Path
from typing import Any

import pytest

from lenet_pl.artifacts.results_file import End, earlier_test_uses, make_way, read_end
from lenet_pl.errors import DataError


def write(folder: Path, **changed: Any) -> None:
    content = {"epochs": 2, "stopped_early": False, "metrics": {"test/accuracy": 0.5}} | changed
    (folder / "results.json").write_text(json.dumps(content))


def test_an_end_is_read(tmp_path: Path) -> None:
    assert read_end(tmp_path) is None
    write(tmp_path)
    assert read_end(tmp_path) == End(epochs=2, stopped_early=False, test_uses=1)
    write(tmp_path, metrics={}, stopped_early=True)
    assert read_end(tmp_path) == End(epochs=2, stopped_early=True, test_uses=0)
    write(tmp_path, test_uses=3)
    assert read_end(tmp_path) == End(epochs=2, stopped_early=False, test_uses=3)


@pytest.mark.parametrize(
    ("stopped", "longer", "reached"), [(False, 2, True), (False, 3, False), (True, 3, True), (False, 1, True)]
)
def test_an_end_is_that_of_a_longer_training_if_early_stopping_made_it(
    stopped: bool, longer: int, reached: bool
) -> None:
    assert End(2, stopped, 1).reached(longer) is reached


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"epochs": "x", "stopped_early": 0, "metrics": {}}', "\0"])
def test_what_is_no_result_of_a_training_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=r"results\.json: not a training's results \(\w+\)$"):
        read_end(tmp_path)


def test_results_make_way_under_names_that_nobody_reads_as_finished(tmp_path: Path) -> None:
    make_way(tmp_path)  # where there is nothing, nothing happens
    assert list(tmp_path.iterdir()) == []
    for number in (1, 2):
        write(tmp_path, epochs=number, test_uses=number)
        (tmp_path / "report.html").write_text(f"report {number}")
        make_way(tmp_path)
        assert read_end(tmp_path) is None
        assert earlier_test_uses(tmp_path) == number
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "earlier_1.html", "earlier_2.html", "earlier_results_1.json", "earlier_results_2.json",
    ]  # fmt: skip
    assert (tmp_path / "earlier_1.html").read_text() == "report 1"
    (tmp_path / "earlier_results_1.json").write_text("damaged")
    assert earlier_test_uses(tmp_path) in (2, 3)
