"""Search for the learning rate before a training."""

import csv
from pathlib import Path

import pytest
from conftest import Compose
from lightning.pytorch.callbacks import LearningRateFinder
from quiet import QUIET

from lenet_pl.train import train

GIVEN = (*QUIET, "loader.batch_size=64", "trainer.max_epochs=5", "test=false")


def first_row(folder: Path) -> dict[str, float]:
    with (folder / "metrics.csv").open() as stream:
        return {name: float(value) for name, value in next(csv.DictReader(stream)).items() if value}


def test_the_found_rate_is_used_and_drawn(compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(compose(*GIVEN, "extra_callbacks=[lr_finder]", "extra_callbacks.lr_finder.num_training_steps=60"), tmp_path)
    lr = first_row(tmp_path)["lr"]
    assert 1e-5 < lr < 1
    assert lr != 1e-3
    assert f"lr_finder: learning rate {lr:.3g}" in capsys.readouterr().out
    assert (tmp_path / "lr_finder.png").stat().st_size > 5000
    assert not list(tmp_path.glob(".lr_find*"))


def test_lightnings_own_callback_works_from_python(compose: Compose, tmp_path: Path) -> None:
    finder = LearningRateFinder(num_training_steps=60)
    train(compose(*GIVEN), tmp_path, [finder])
    assert finder.optimal_lr is not None
    row = first_row(tmp_path)
    assert row["lr"] == finder.optimal_lr.suggestion()
    assert row["seconds"] < 60
