import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lenet_pl.compare.run import Run
from lenet_pl.compare.run_index import find_runs
from lenet_pl.compare.setting_values import MISSING
from lenet_pl.errors import DataError
from lenet_pl.settings.config_file import read_settings

Write = Callable[..., Path]


@pytest.fixture
def write(digits_run: Path, tmp_path: Path) -> Write:
    """Write a run folder like the real one: `write("a/0", seed=1, model="x", settings={...}, accuracy=0.9)`."""
    real = json.loads((digits_run / "results.json").read_text())
    config = yaml.safe_load((digits_run / "config.yaml").read_text())

    def _write(place: str, *, finished: bool = True, configured: bool = True, **changes: Any) -> Path:
        folder = tmp_path / "runs" / place
        folder.mkdir(parents=True)
        if configured:
            (folder / "config.yaml").write_text(yaml.safe_dump(config | {"run": str(folder)}, sort_keys=False))
        if finished:
            (folder / "results.json").write_text(json.dumps(real | changes))
        return folder

    return _write


def problems(root: Path) -> dict[str, str]:
    return {run.folder.name: str(run.problem) for run in find_runs([str(root)]).runs if run.problem}


def test_a_real_run_is_found_with_what_it_says(digits_run: Path) -> None:
    (run,) = find_runs([str(digits_run)]).runs
    config = yaml.safe_load((digits_run / "config.yaml").read_text())
    assert (run.folder, run.problem) == (digits_run, None)
    assert run.settings == {key: value for key, value in config.items() if key != "run"}
    assert run.value("optimizer.lr") == config["optimizer"]["lr"]
    assert [run.value(key) for key in ("model", "data", "optimizer", "seed")] == ["lenet5", "digits", "adam", 0]
    assert run.value("trainer.gradient_clip_val") is None
    assert run.value("images.test") == 359
    assert run.value("augment") is run.value("optimizer.lrr") is run.value("model.name.x") is MISSING
    assert {"optimizer.lr", "seed", "versions.torch"} <= run.keys()
    assert len(run.epochs("val/accuracy")) == run.results["epochs"]


def test_runs_are_found_at_any_depth_in_the_order_of_their_numbers(write: Write, tmp_path: Path) -> None:
    folders = [write(f"sweep/{name}") for name in (10, 9, 2)] + [write("x/y/z/0")]
    inside = write("sweep/2/again")
    found = [run.folder for run in find_runs([str(tmp_path)]).runs]
    assert found == [folders[2], inside, folders[1], folders[0], folders[3]]


def test_globs_and_overlapping_places_find_each_run_once(write: Write, tmp_path: Path) -> None:
    write("a1/0"), write("a2/0"), write("b[1]/0")
    runs = tmp_path / "runs"
    assert len(find_runs([f"{runs}/a*"]).runs) == 2
    assert len(find_runs([f"{runs}/b[1]"]).runs) == 1
    assert len(find_runs([str(runs), f"{runs}/a1", f"{runs}/**/0"]).runs) == 3


def test_symbolic_links_are_followed_once(write: Write, tmp_path: Path) -> None:
    folder = write("a")
    (folder / "loop").symlink_to(tmp_path)
    (tmp_path / "runs" / "same").symlink_to(folder)
    (tmp_path / "runs" / "nowhere").symlink_to(tmp_path / "absent")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(folder)
    assert len(find_runs([str(tmp_path / "runs")]).runs) == 1
    assert len(find_runs([str(tmp_path / "elsewhere")]).runs) == 1


def test_results_of_other_tasks_and_programs_are_passed_over(write: Write, tmp_path: Path) -> None:
    folder = write("a")
    write("a/evaluate/now", task="evaluate", configured=False)
    for name, content in {"list": "[1, 2]", "other": '{"accuracy": 1}', "number": "3"}.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "results.json").write_text(content)
    (tmp_path / "runs" / "hydra").mkdir()
    (tmp_path / "runs" / "hydra" / "config.yaml").write_text("lr: 0.1\nseed: 3\n")
    index = find_runs([str(tmp_path)])
    assert [run.folder for run in index.runs] == [folder]
    assert (index.others, len(index.evaluations), index.skipped) == (3, 1, 4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "results.json unreadable: EOF while parsing a value"),
        (b'{"task": "tr', "results.json unreadable: EOF while parsing a string"),
        (b'{"task": "train", "model": "\xff\xfe"}', "results.json unreadable: invalid unicode"),
        (b"[" * 100_000, "results.json unreadable: recursion limit exceeded"),
        (b"[]", "results.json is not from a training"),
        (b'{"task": "train"}', "results.json is corrupt: model is missing"),
    ],
)
def test_damaged_results_have_their_reason(write: Write, tmp_path: Path, content: bytes, reason: str) -> None:
    (write("bad") / "results.json").write_bytes(content)
    write("good")
    assert problems(tmp_path)["bad"].startswith(reason)
    assert len(find_runs([str(tmp_path)]).runs) == 2


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"metrics": {"test/accuracy": float("nan")}}, "metrics.test/accuracy is nan"),
        ({"metrics": {"test/accuracy": float("inf")}}, "metrics.test/accuracy is inf"),
        ({"metrics": {"test/accuracy": "0.9"}}, "metrics.test/accuracy is 0.9"),
        ({"metrics": []}, "metrics is []"),
        ({"seed": "0"}, "seed is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"model": None}, "model is None"),
        ({"parameters": 10**30}, "parameters is 1000"),
        ({"training_seconds": 1e300}, "training_seconds is 1e+300"),
    ],
)
def test_impossible_results_have_their_reason(write: Write, tmp_path: Path, changes: dict[str, Any], key: str) -> None:
    write("bad", **changes)
    assert problems(tmp_path)["bad"].startswith(f"results.json is corrupt: {key}")


def test_unfinished_runs_say_how_far_they_got(write: Write, digits_run: Path, tmp_path: Path) -> None:
    lines = (digits_run / "metrics.csv").read_text().splitlines(keepends=True)
    (write("half", finished=False) / "metrics.csv").write_text("".join(lines[:4]))
    write("none", finished=False)
    (write("bad", finished=False) / "config.yaml").write_bytes(b"seed: \xff")
    found = problems(tmp_path)
    assert found["half"] == "not finished (no results.json); 3 of at most 8 epochs done"
    assert found["none"] == "not finished (no results.json); 0 of at most 8 epochs done"
    assert found["bad"].startswith("not finished (no results.json); config.yaml unreadable: 'utf-8' codec")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(write: Write, tmp_path: Path) -> None:
    folder = write("locked")
    folder.chmod(0)
    try:
        assert problems(tmp_path) == {"locked": "cannot be read: Permission denied"}
    finally:
        folder.chmod(0o700)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"runs: .*nowhere is not a folder"):
        find_runs([str(tmp_path / "nowhere")])
    with pytest.raises(DataError, match=r"runs: .*no\* matches no folder"):
        find_runs([str(tmp_path / "no*")])
    assert find_runs([str(tmp_path)]).runs == []


def test_config_of_finished_runs_is_read_only_when_asked(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        write(str(number), seed=number)
    read: list[Path] = []
    for module in ("run", "run_index"):
        monkeypatch.setattr(
            f"lenet_pl.compare.{module}.read_settings", lambda folder: read.append(folder) or read_settings(folder)
        )
    runs = find_runs([str(tmp_path)]).runs
    assert [run.value("seed") for run in runs] == list(range(200))
    assert read == []
    assert runs[3].value("optimizer.lr") == runs[3].value("optimizer.lr") == 0.001
    assert read == [runs[3].folder]


@pytest.mark.parametrize(
    "text",
    [
        "model: &a [1, 2]\ndata: *a\nseed: 0\ntrainer: {}\n",
        "model: {x: &a [1, 1], y: [*a, *a]}\ndata: 1\nseed: 0\ntrainer: {}\n",
        "model: !!python/object/apply:os.system ['true']\n",
        "model: 2020-01-01\n",
        "model: {? [1] : 2}\n",
        "- a\n- b\n",
        "model: {\n",
    ],
)
def test_strange_settings_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(DataError, match=r"config\.yaml unreadable"):
        read_settings(tmp_path)
    assert Run(tmp_path).settings == {}
