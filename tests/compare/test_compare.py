import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from lenet_pl.compare import compare
from lenet_pl.errors import DataError
from lenet_pl.settings import compose as composition
from lenet_pl.settings.compare import CompareSettings

MODELS = {"a|b": (0.91, 0.93, 0.92), "costs $5_$": (0.90, 0.90, 0.91), "[red]\x1b[31m": (0.5,)}


def settings(*overrides: str) -> CompareSettings:
    return composition.compose("compare", CompareSettings, list(overrides))


@pytest.fixture(scope="module")
def runs(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, copies of it under other names and scores, an unfinished one and one that is no run."""
    root = tmp_path_factory.mktemp("compared")
    real = json.loads((digits_run / "results.json").read_text())
    for number, (model, accuracies) in enumerate(MODELS.items()):
        for seed, accuracy in enumerate(accuracies):
            folder = root / f"{number}" / f"{seed}"
            folder.mkdir(parents=True)
            for name in ("config.yaml", "metrics.csv"):
                shutil.copy(digits_run / name, folder)
            metrics = real["metrics"] | {"test/accuracy": accuracy}
            changed = real | {"model": model, "seed": seed, "metrics": metrics, "parameters": 10 ** (3 + number)}
            (folder / "results.json").write_text(json.dumps(changed))
    shutil.copytree(digits_run, root / "real")
    (root / "0" / "2" / "metrics.csv").write_text("no,columns\n1,2\n")
    (root / "unfinished").mkdir()
    shutil.copy(digits_run / "config.yaml", root / "unfinished")
    (root / "real" / "export").mkdir()
    (root / "real" / "export" / "results.json").write_text('{"task": "export"}')
    return root


@pytest.fixture(scope="module")
def compared(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    compare(settings(f"runs={runs}"), folder)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_file_is_there(compared: Path) -> None:
    assert {path.name for path in compared.iterdir()} == {
        *("compare.md", "compare.csv", "compare.json", "runs.csv"),
        *("accuracy_parameters.png", "validation_curves.png", "seeds.png"),
    }


def test_groups_with_full_precision(compared: Path, digits_run: Path) -> None:
    rows = {row["model"]: row for row in read(compared / "compare.csv")}
    real = json.loads((digits_run / "results.json").read_text())
    assert set(rows) == {"a|b", "costs $5_$", r"[red]\x1b[31m", "lenet5"}
    first = rows["a|b"]
    assert (first["n"], first["best"], first["to best difference"]) == ("3", "True", "")
    assert (float(first["test/accuracy mean"]), float(first["test/accuracy std"])) == pytest.approx((0.92, 0.01))
    second = rows["costs $5_$"]
    # differences by seed -1, -3, -1 hundredths: mean -5/3, sd 2/√3, t of 2 degrees of freedom 4.3027
    assert float(second["to best difference"]) == pytest.approx(-0.05 / 3)
    assert float(second["to best low"]) == pytest.approx(-0.05 / 3 - 4.3027 * 0.02 / 3, abs=1e-6)
    assert second["to best interval"] == "paired, 3 seeds"
    # t = -5/2 with 2 degrees of freedom; it is the only comparison with a p-value
    assert float(second["to best p"]) == pytest.approx(0.129611, abs=1e-6)
    assert float(second["to best corrected p"]) == pytest.approx(0.129611, abs=1e-6)
    assert second["to best more seeds"] == "3"
    assert float(rows["lenet5"]["test/accuracy mean"]) == real["metrics"]["test/accuracy"]
    assert float(rows["lenet5"]["training_seconds"]) == real["training_seconds"]
    assert rows["lenet5"]["to best interval"] == "n too small"
    content = json.loads((compared / "compare.json").read_text())
    assert [group["model"] for group in content["groups"]] == [row["model"] for row in read(compared / "compare.csv")]
    assert content["groups"][0]["best"] is True
    assert content["results_of_other_tasks_or_programs"] == 1
    (uses,) = content["test_uses"]
    assert (uses["data"], uses["uses"], uses["runs"]) == ("digits", 8, 8)


def test_each_run_has_a_line_the_unfinished_too(compared: Path, runs: Path) -> None:
    rows = {row["folder"]: row for row in read(compared / "runs.csv")}
    assert len(rows) == 3 + 3 + 1 + 1 + 1
    assert float(rows[str(runs / "0" / "1")]["test/accuracy"]) == 0.93
    assert rows[str(runs / "unfinished")]["problem"].startswith("not finished (no results.json)")


def test_the_table_in_markdown(compared: Path) -> None:
    lines = (compared / "compare.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in table} == {11}
    assert r"| a\|b | digits | 3 | 0.9200 ± 0.0100 | best |" in table[2]
    cell = "-0.0167 (paired, 3 seeds) [-0.0454, +0.0120], p=0.13, 3 more seeds to show it"
    assert f"| 0.9033 ± 0.0058 | {cell} |" in "\n".join(table)
    assert sum(line.startswith("- skipped: /") for line in lines) == 1
    assert "- skipped: 1 results.json of other tasks or programs" in lines
    assert any(line.startswith("- test split of digits: used 8 times by 8 runs") for line in lines)


def test_pictures_show_something(compared: Path) -> None:
    for path in compared.glob("*.png"):
        pixels = imread(path)[:, :, :3]
        assert min(pixels.shape[:2]) > 200
        coloured = (pixels.max(2) - pixels.min(2) > 0.3).sum()
        assert coloured > 200


def test_the_terminal_has_the_table_the_reasons_and_the_place(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    compare(settings(f"runs={runs}", "max_curves=1", "max_rows=3"), tmp_path)
    text = capsys.readouterr().out
    assert "\x1b[31m" not in text
    for part in ("a|b", "0.9200 ± 0.0100", "images/s", "1 more groups in", "unfinished: not finished", str(tmp_path)):
        assert part in text
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "narrow").mkdir()
    compare(settings(f"runs={runs}", "group_by=model"), tmp_path / "narrow")
    text = capsys.readouterr().out
    assert "columns that do not fit here: " in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("chosen", "spread", "interval"), [("real", False, False), ("0", True, False), ("[01]", True, True)]
)
def test_only_what_is_in_the_table_is_explained(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], chosen: str, spread: bool, interval: bool
) -> None:
    compare(settings(f"runs='{runs}/{chosen}'"), tmp_path)
    for text in (capsys.readouterr().out, (tmp_path / "compare.md").read_text()):
        assert ("± is the standard deviation" in text) == spread
        assert ("Student's t" in " ".join(text.split())) == interval


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"task": "evaluate"}')
    with pytest.raises(
        DataError, match=r"runs: no runs in .* \(1 results\.json belong to other .*searched at any depth"
    ):
        compare(settings(f"runs={tmp_path}"), tmp_path)


@pytest.mark.parametrize(
    ("argument", "code", "message"),
    [
        ("group_by=[modle]", 2, "group_by: no run has modle; did you mean model?"),
        ("runs=nowhere", 1, "runs: nowhere is not a folder;"),
        ("rnus=x", 2, "rnus: unknown setting; did you mean runs?"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    runs: Path, tmp_path: Path, command_environment: dict[str, str], argument: str, code: int, message: str
) -> None:
    own = [] if argument.startswith("runs=") else [f"runs={runs}"]
    line = [sys.executable, "-m", "lenet_pl.compare", *own, argument]
    done = subprocess.run(line, cwd=tmp_path, env=command_environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_fills_its_own_folder(runs: Path, tmp_path: Path, command_environment: dict[str, str]) -> None:
    line = [sys.executable, "-m", "lenet_pl.compare", f"runs=[{runs}/0,{runs}/re*]", "filter={seed:0}"]
    done = subprocess.run(line, cwd=tmp_path, env=command_environment, capture_output=True, check=True, text=True)
    (folder,) = (tmp_path / "runs" / "compare").iterdir()
    assert f"everything is in {folder.relative_to(tmp_path)}\n" in done.stdout
    assert {row["model"]: row["n"] for row in read(folder / "compare.csv")} == {"a|b": "1", "lenet5": "1"}
