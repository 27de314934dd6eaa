import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from lenet_pl.benchmark.leaderboard import Row, find_row, read_rows
from lenet_pl.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "leaderboard.csv"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("leaderboard_page", ROOT / "docs" / "images" / "leaderboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_rows(FILE)


def test_file_and_page_are_as_made(maker: ModuleType, rows: list[Row]) -> None:
    assert maker.as_file([maker.completed(row) for row in rows]) == FILE.read_text(encoding="utf-8")
    page = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    assert maker.render(page, rows) == page
    assert set(maker.TABLE.findall(page)) == set(maker.TABLES)


def test_the_readme_has_figures_of_the_file(rows: list[Row]) -> None:
    known = {f"{row.mean:.4f} ± {row.sd:.4f}" for row in rows if row.mean is not None and row.sd is not None}
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Results")[2].partition("\n## ")[0]
    assert set(re.findall(r"0\.\d{4} ± 0\.\d{4}", section)) <= known


def test_names_are_unique_and_references_lead_somewhere(rows: list[Row]) -> None:
    names = [row.id for row in rows]
    assert sorted(names) == sorted(set(names))
    assert {name for row in rows for name in row.versus} <= set(names)
    assert all(row.source for row in rows)
    assert all(row.n == len(row.seeds) for row in rows if row.seeds)


def test_multiply_adds_of_lenet5_by_hand(maker: ModuleType) -> None:
    convolutions = 28 * 28 * 6 * 25 + 10 * 10 * 16 * 6 * 25
    parameters = 6 * 26 + 16 * (6 * 25 + 1) + 401 * 120 + 121 * 84 + 85 * 10
    assert maker.size("lenet5") == (parameters, convolutions + 400 * 120 + 120 * 84 + 84 * 10)


def test_what_is_drawn(maker: ModuleType, rows: list[Row]) -> None:
    ours, others = maker.figure_rows(rows)
    assert {row.id for row in ours} >= {"cnn5_bn_mnist", "lenet5_bn_fashion", "mnist_99_fast", "lenet5_1998_lecun"}
    assert len({(row.model, row.data) for row in ours}) == len(ours)
    assert "lecun_1998" in {row.id for row in others}
    assert all(row.tta_copies == row.networks == 1 for row in ours + others)


def test_the_interval_is_that_of_scipy(rows: list[Row]) -> None:
    row = find_row(rows, "lenet5_bn_mnist")
    assert row.interval() == pytest.approx(stats.t.interval(0.95, 4, 0.9946, 0.0008 / 5**0.5))
    assert (row.low, row.high) == pytest.approx(row.interval(), abs=1e-5)
    assert find_row(rows, "ensemble_mnist").interval() is None


def test_the_prediction_interval_contains_the_mean_of_new_seeds(rows: list[Row]) -> None:
    noise = np.random.default_rng(0)
    old, new = noise.normal(0.9, 0.01, (4000, 5)), noise.normal(0.9, 0.01, (4000, 3)).mean(1)
    row, inside = find_row(rows, "lenet5_bn_mnist"), 0
    for scores, mean in zip(old, new, strict=True):
        found = row.model_copy(update={"mean": scores.mean(), "sd": scores.std(ddof=1)}).prediction(3)
        assert found is not None
        inside += found[0] <= mean <= found[1]
    assert inside / 4000 == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.9969", "1.9969"), r"line 2 of .*board\.csv: mean: Input should be less than"),
        (("table,id", "table,name_of"), r"line 2 of .*: id: Field required"),
    ],
)
def test_a_corrupt_file_is_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "board.csv").write_text(FILE.read_text(encoding="utf-8").replace(*change, 1), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / "board.csv")


def test_unknown_names_and_files(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"leaderboard: .*nothing\.csv: No such file"):
        read_rows(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="leaderboard_row: got lenet5_bn_mnst; did you mean lenet5_bn_mnist"):
        find_row(rows, "lenet5_bn_mnst")
