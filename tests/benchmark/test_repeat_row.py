import json
from pathlib import Path

import pytest

from lenet_pl.benchmark import benchmark, compare_loops, repeat_row
from lenet_pl.benchmark.leaderboard import Row, find_row, read_rows
from lenet_pl.benchmark.repeat_row import check_inside, judge, row_table
from lenet_pl.errors import DataError
from lenet_pl.settings import compose as composition
from lenet_pl.settings.benchmark import BenchmarkSettings

FILE = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.csv"
RECIPE = "data=digits model=lenet1 trainer.max_epochs=1 trainer.limit_train_batches=2 trainer.precision=32-true"


def settings(*overrides: str) -> BenchmarkSettings:
    return composition.compose("benchmark", BenchmarkSettings, ["output_dir=unused", "datasets=[digits]", *overrides])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A leaderboard whose only row is of digits."""
    cells = {"table": "ours", "id": "digits", "name": "lenet1", "model": "lenet1", "data": "digits", "recipe": RECIPE}
    cells |= {"seeds": "3 4 5", "networks": "1", "tta_copies": "1", "n": "3", "mean": "0.1", "sd": "0.05"}
    cells |= {"precision": "bf16-mixed", "source": "measured here"}
    path = tmp_path / "board.csv"
    path.write_text(
        ",".join(Row.model_fields) + "\n" + ",".join(cells.get(name, "") for name in Row.model_fields) + "\n"
    )
    return path


def test_a_row_is_trained_with_its_recipe_and_first_seeds(own: Path, tmp_path: Path) -> None:
    chosen = settings("parts=[leaderboard]", f"leaderboard_file={own}", "leaderboard_row=digits", "seeds=2")
    found = repeat_row.repeat_row(chosen, tmp_path)
    runs = [json.loads((tmp_path / seed / "results.json").read_text()) for seed in ("3", "4")]
    assert found["scores"] == [run["metrics"]["test/accuracy"] for run in runs]
    assert [run["model"] for run in runs] == ["lenet1"] * 2
    assert found["mean"] == pytest.approx(sum(found["scores"]) / 2, abs=1e-5)
    assert row_table(found)[1][-1] == "32-true, recorded in bf16-mixed"
    # mean 0.1, sd 0.05, n = 3; t of 2 degrees of freedom is 4.3027
    assert found["high"] == pytest.approx(0.1 + 4.3027 * 0.05 * (1 / 3 + 1 / 2) ** 0.5, abs=1e-4)


def test_the_command_fails_if_the_mean_is_outside(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = find_row(read_rows(own), "digits")
    record = judge(row, [0.5, 0.51]) | {"precision": "32-true", "recorded_precision": "32-true", "seconds": 1.0}
    monkeypatch.setattr(repeat_row, "repeat_row", lambda *_: record)
    monkeypatch.setattr(compare_loops, "describe_machine", lambda *_: {"fp32 multiplications, GFLOP/s": 1.0})
    with pytest.raises(DataError, match=r"digits has a mean of 0\.5050 over 2 seeds; must be within"):
        benchmark(settings("parts=[leaderboard]"), tmp_path)
    assert json.loads((tmp_path / "benchmark.json").read_text())["leaderboard"]["inside"] is False
    assert "| no |" in (tmp_path / "benchmark.md").read_text()
    assert "0.5050" in capsys.readouterr().out
    check_inside(judge(row, [0.1, 0.12]))


@pytest.mark.parametrize("row", ["ensemble_mnist", "lenet5_bn_mnist_tta", "lecun_1998", "cnn_plain_mnist"])
def test_a_row_that_train_alone_cannot_repeat_is_refused(row: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"leaderboard_row: {row} has no recipe"):
        repeat_row.repeat_row(settings(f"leaderboard_file={FILE}", f"leaderboard_row={row}"), tmp_path)
