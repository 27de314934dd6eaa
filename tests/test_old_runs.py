"""Folders that an earlier version wrote, whose settings had other names: tests/old_runs/README.md."""

import contextlib
import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_command import run_forked

from lenet_pl.compare import compare
from lenet_pl.errors import SettingError
from lenet_pl.evaluate import evaluate
from lenet_pl.export import export, load_safetensors
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.settings.compare import CompareSettings
from lenet_pl.settings.config_file import completed, read_settings
from lenet_pl.settings.evaluate import EvaluateSettings
from lenet_pl.settings.export import ExportSettings
from lenet_pl.settings.validation import validate

OLD = Path(__file__).parent / "old_runs"
RUNS = ("digits", "own", "ema", "onecycle", "sdlm")
LONGER = ("digits", "own", "ema")  # beside their figures those of one epoch more
SEARCH = (
    "search=regularization",
    "search.study_name=regularisation_digits_lenet5",
    "run=search",
    "model.channels=[[2],[4]]",
    "model.hidden_sizes=[8]",
)
SEARCH += ("trainer.num_threads=1", "trainer.precision=32-true", "trainer.max_epochs=1")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all folders, in which commands are run."""
    shutil.copytree(OLD, tmp_path / "old", dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def command(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return run_forked(*words, env=environment)


def figures(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(stream)]
    return [{name: value for name, value in row.items() if name not in ("seconds", "images/s")} for row in rows]


def agree(found: list[dict[str, float]], recorded: list[dict[str, float]]) -> None:
    assert len(found) == len(recorded)
    for one, other in zip(found, recorded, strict=True):
        assert one == pytest.approx(other, rel=1e-4)  # the last digits are the machine's


def results(folder: str) -> Any:
    return json.loads((Path(folder) / "results.json").read_text())


@pytest.mark.parametrize("name", RUNS)
def test_settings_have_the_names_of_today(name: str) -> None:
    settings = validate(TrainSettings, completed(read_settings(OLD / name)) | {"run": name})
    assert settings.model.hidden_sizes == [8]  # type: ignore[union-attr]
    assert settings.trainer.num_threads == 1
    assert settings.callbacks.ema.decay == (0.9 if name == "ema" else None)
    assert settings.trainer.gradient_clip_val == (1.0 if name == "ema" else None)
    assert getattr(settings.scheduler, "pct_start", 0.4) == 0.4
    assert getattr(settings.scheduler, "eta_min", 0.0001) == 0.0001
    if name == "ema":
        assert (settings.model.norm, settings.model.pooling) == ("batch_norm", "avg")  # type: ignore[union-attr]
        assert (settings.augment.degrees, settings.augment.translate) == (10, 0.1)
        assert settings.scheduler.name == "piecewise_constant"
    if name == "own":
        data, augment = settings.data, settings.augment
        assert (data.display_name, data.color_mode, data.resize_mode, data.split.val_size) == (  # type: ignore[union-attr]
            "shapes", "gray", "resize", 0.3,
        )  # fmt: skip
        assert (augment.hflip, augment.random_erasing, augment.aspect_ratio) == (0.5, 0.1, 0.1)
    if name == "sdlm":
        assert settings.loss.rubbish_penalty == 2
        assert settings.optimizer.curvature_samples == 64  # type: ignore[union-attr]


@pytest.mark.parametrize("name", RUNS)
def test_evaluate_finds_what_the_run_found(name: str, old: Path) -> None:
    given = [f"run={name}", "output_dir=evaluated"]
    with contextlib.redirect_stdout(io.StringIO()):
        found = evaluate(composition.compose("evaluate", EvaluateSettings, given))
    recorded = results(name)["metrics"]
    assert found["metrics"]["accuracy"] == pytest.approx(recorded["test/accuracy"], abs=1e-6)
    assert found["metrics"]["loss"] == pytest.approx(recorded["test/loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("digits/evaluate/views", ["run=digits", "tta.shift=1", "tta.hflip=true"]),
        ("own/evaluate/validation", ["run=own", "split=val"]),
    ],
)
def test_evaluations_are_repeated(folder: str, words: list[str], old: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        found = evaluate(composition.compose("evaluate", EvaluateSettings, [*words, "output_dir=again"]))
    assert found["metrics"] == pytest.approx(results(folder)["metrics"], rel=1e-4)


@pytest.mark.parametrize("name", LONGER)
def test_finished_runs_go_on(name: str, old: Path, command_environment: dict[str, str]) -> None:
    done = command(command_environment, "lenet_pl.train", f"run={name}", "resume=true", "trainer.max_epochs=3")
    assert (done.returncode, done.stderr) == (0, "")
    agree(figures(old / name / "metrics.csv"), figures(old / name / "longer.csv"))


def test_a_stopped_run_goes_on(old: Path, command_environment: dict[str, str]) -> None:
    done = command(command_environment, "lenet_pl.train", "run=stopped", "resume=true")
    assert (done.returncode, done.stderr) == (0, "")
    agree(figures(old / "stopped" / "metrics.csv"), figures(old / "stopped" / "longer.csv"))


def test_runs_of_several_seeds_are_left_and_go_on(old: Path, command_environment: dict[str, str]) -> None:
    words = ("lenet_pl.train", "run=seeds", "resume=auto", "seeds=[0,1]")
    done = command(command_environment, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "already finished" in done.stdout
    done = command(command_environment, *words, "trainer.max_epochs=2")
    assert (done.returncode, done.stderr) == (0, "")
    agree(figures(old / "seeds" / "seed_0" / "metrics.csv")[:1], figures(OLD / "seeds" / "seed_0" / "metrics.csv"))


def test_compare_finds_all_runs_and_evaluations(old: Path) -> None:
    given = ["runs=.", "group_by=[model.pooling,callbacks.ema.decay,num_lr_changes]", "include_evaluations=true"]
    with contextlib.redirect_stdout(io.StringIO()):
        compare(composition.compose("compare", CompareSettings, [*given, "output_dir=compared"]), old)
    with (old / "compare.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["model.pooling"] for row in rows} == {"max", "avg"}
    assert {row["callbacks.ema.decay"] for row in rows} == {"", "0.9"}
    assert {row["views"] for row in rows} == {"1", "18"}
    with pytest.raises(SettingError, match=r"no run has trainer\.ema_decay; it is now called callbacks\.ema\.decay"):
        compare(composition.compose("compare", CompareSettings, ["runs=.", "group_by=trainer.ema_decay"]), old)


def test_an_exported_file_is_read_and_made_again(old: Path) -> None:
    network = load_safetensors(old / "digits" / "export" / "model.safetensors")
    quick = ["num_images=10", "repeats=1", "min_run_time=0.001", "formats=[safetensors]"]
    with contextlib.redirect_stdout(io.StringIO()):
        export(composition.compose("export", ExportSettings, ["run=digits", "output_dir=exported", *quick]))
    again = load_safetensors(old / "exported" / "model.safetensors")
    images = torch.arange(3 * 64, dtype=torch.uint8).reshape(3, 1, 8, 8)
    torch.testing.assert_close(network(images), again(images))


def test_a_study_goes_on(old: Path, command_environment: dict[str, str]) -> None:
    pytest.importorskip("optuna")
    done = command(command_environment, "lenet_pl.search", *SEARCH, "search.n_trials=4")
    assert done.returncode == 0, done.stderr
    assert "3 of 4 trials finished" in done.stdout
    with (old / "search" / "trials.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert all(row["augment.degrees"] and row["augment.translate"] for row in rows)
    assert set(results("search")["best"]["settings"]) >= {"augment.degrees", "model.dropout"}


def test_the_best_of_a_search_is_an_experiment(old: Path, command_environment: dict[str, str]) -> None:
    words = ("hydra.searchpath=[file://search]", "experiment=best", "augment.translate=0.2", "run=best", "logger=none")
    done = command(command_environment, "lenet_pl.train", *words)
    assert (done.returncode, done.stderr) == (0, "")
    settings = read_settings(old / "best")
    assert settings["augment"]["degrees"] == pytest.approx(19.46446101045781)
    assert settings["augment"]["translate"] == 0.2
    assert settings["model"]["hidden_sizes"] == [8]


def test_a_sweep_is_left_as_it_is(old: Path, command_environment: dict[str, str]) -> None:
    words = ("model.channels=[[2],[4]]", "model.hidden_sizes=[8]", "trainer.num_threads=1", "trainer.precision=32-true")
    words += ("logger=none", "trainer.max_epochs=1", "model.pooling=max,avg", "seed=0,1", "run=sweep", "resume=auto")
    done = command(command_environment, "lenet_pl.train", "-m", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept") >= 4
