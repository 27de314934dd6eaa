import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose

from lenet_pl.benchmark.planted_faults import FURTHER, HEALTHY, PLANTED, Case
from lenet_pl.diagnose import diagnose
from lenet_pl.diagnose.checks import CHECKS
from lenet_pl.diagnose.recorded_run import open_recorded_run
from lenet_pl.diagnose.trial import train_briefly
from lenet_pl.diagnose.verdict import FAULTS
from lenet_pl.errors import DataError, DivergenceError, SettingError
from lenet_pl.settings.compose import compose as compose_any
from lenet_pl.settings.diagnose import DiagnoseSettings
from lenet_pl.train import train

QUIET = ("logger=none", "report=none", "callbacks.progress_bar=false", "callbacks.model_summary=false")


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out figures, and make the range test short."""
    monkeypatch.setattr("lenet_pl.diagnose.report.draw_figures", lambda found: {})
    monkeypatch.setattr("lenet_pl.diagnose.lr_range.STEPS", 40)


def settings(folder: Path, *overrides: str) -> DiagnoseSettings:
    return compose_any("diagnose", DiagnoseSettings, [f"run='{folder}'", *overrides])


def quietly(call: Any, *arguments: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*arguments)


def run_of(compose: Compose, folder: Path, *overrides: str) -> Path:
    folder.mkdir()
    with contextlib.suppress(DivergenceError):
        quietly(train, compose(*QUIET, *overrides), folder)
    return folder


def test_a_repeated_training_is_the_training(digits_run: Path) -> None:
    run = open_recorded_run(settings(digits_run))
    epoch = len(run.data.train_dataloader())
    trial = train_briefly(run, 2 * epoch)
    with (digits_run / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    sizes = [128] * (epoch - 1) + [len(run.data.train_set) - 128 * (epoch - 1)]
    for k in range(2):
        losses = trial.losses[k * epoch : (k + 1) * epoch]
        weighted = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
        assert float(rows[k]["train/loss"]) == pytest.approx(weighted, abs=1e-5)
    assert trial.validation.accuracy == pytest.approx(float(rows[1]["val/accuracy"]), abs=1e-6)
    assert run.planned_steps == 8 * epoch
    again = train_briefly(run, epoch)
    assert again.losses == trial.losses[:epoch]


def test_a_healthy_run_has_no_fault(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(digits_run.rglob("*"))
    results = diagnose(settings(digits_run, f"output_dir='{tmp_path / 'out'}'", "max_steps=18"))
    assert (results["verdicts"], results["finished"], results["replay"]["steps"]) == ([], True, 18)
    assert results["checked"] == list(CHECKS)
    assert results["lr_range"]["lowest"] < results["lr_range"]["suggestion"] < results["lr_range"]["highest"]
    assert "no fault found; checked: learning rate" in " ".join(capsys.readouterr().out.split())
    assert sorted(digits_run.rglob("*")) == before
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"diagnosis.json", "diagnosis.html", "lr_range.png", "activations.png", "gradients.png"} <= written
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text())["verdicts"] == []


@pytest.mark.usefixtures("_short")
def test_a_learning_rate_that_is_too_high_is_named_and_proved(compose: Compose, tmp_path: Path) -> None:
    run = run_of(compose, tmp_path / "run", "optimizer.lr=0.3", "trainer.max_epochs=3")
    first = quietly(diagnose, settings(run))["verdicts"][0]
    assert first["fault"] == "lr_too_high"
    assert first["advice"].startswith("optimizer.lr=0.0")
    assert first["proof"]["supports"]
    assert first["proof"]["change"] == first["advice"]
    assert first["proof"]["after"][0] > first["proof"]["before"][0] + 0.3
    assert first["confidence"] > 0.85


@pytest.mark.usefixtures("_short")
def test_a_run_that_diverged_before_its_first_epoch_is_examined(compose: Compose, tmp_path: Path) -> None:
    run = run_of(compose, tmp_path / "run", "optimizer=sgd", "optimizer.lr=900", "trainer.max_epochs=4")
    assert not (run / "metrics.csv").exists()
    results = quietly(diagnose, settings(run, "counter_runs=false"))
    named = {one["fault"]: one for one in results["verdicts"]}
    assert results["finished"] is False
    assert "not finite" in results["replay"]["diverged"] or "nan" in results["replay"]["diverged"].lower()
    assert named["lr_too_high"]["untested"] == "counter_runs=false"
    assert any("no checkpoint" in note for note in results["notes"])


def test_errors_are_one_line(tmp_path: Path, digits_run: Path) -> None:
    with pytest.raises(SettingError, match="run: got null; must be"):
        diagnose(compose_any("diagnose", DiagnoseSettings, []))
    with pytest.raises(DataError, match=r"run: .* is not a folder; must be"):
        diagnose(settings(tmp_path / "none"))
    with pytest.raises(DataError, match=r"has no config.yaml; must be the run folder"):
        diagnose(settings(tmp_path))
    with pytest.raises(DataError, match=r"ckpt_path: .* does not exist; must be a checkpoint"):
        diagnose(settings(digits_run, f"ckpt_path='{tmp_path / 'x.ckpt'}'"))


def test_every_planted_fault_exists() -> None:
    assert len(PLANTED) == 12
    assert len(HEALTHY) == 5
    assert {fault for case in (*PLANTED, *HEALTHY, *FURTHER) for fault in case.faults} <= set(FAULTS)
    assert all(case.faults for case in PLANTED)
    assert not any(case.faults for case in HEALTHY)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("case", [*PLANTED, *(one for one in HEALTHY if not one.needs)], ids=lambda case: case.name)
def test_planted_faults_are_named_and_healthy_runs_are_not(case: Case, tmp_path: Path) -> None:
    from lenet_pl.benchmark.diagnoses import diagnose_case

    named = diagnose_case(case, tmp_path, ["trainer.accelerator=cpu", "trainer.num_threads=1"])["named"]
    assert bool(set(named) & set(case.faults)) if case.faults else not named
