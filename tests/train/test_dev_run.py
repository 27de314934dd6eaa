"""`trainer.fast_dev_run`: a check of the settings that keeps nothing."""

from pathlib import Path

import pytest
from conftest import Compose
from forked_command import run_forked
from quiet import QUIET

from lenet_pl.train import train

GIVEN = tuple(word for word in QUIET if word != "logger=none")  # the default logger must not write either


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("trainer.fast_dev_run=true",), "1 training batch, 1 validation batch, 1 test batch"),
        (("trainer.fast_dev_run=2", "loader.eval_batch_size=99"), "2 training batches, 2 validation batches, 2 t"),
        (("trainer.fast_dev_run=true", "test=false", "seeds=[0,1]"), "1 training batch, 1 validation batch"),
        (("trainer.fast_dev_run=true", "train=false"), "1 test batch"),
        (("trainer.fast_dev_run=2", "callbacks.ema.decay=0.9", "extra_callbacks=[timer]"), "2 training batches, "),
    ],
)  # fmt: skip
def test_batches_of_each_split_run_and_nothing_is_kept(
    overrides: tuple[str, ...], line: str, compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = train(compose(*GIVEN, *overrides), tmp_path)
    assert results["task"] == "fast_dev_run"
    assert f"fast_dev_run: {line}" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_command_removes_its_empty_folder(tmp_path: Path, command_environment: dict[str, str]) -> None:
    done = run_forked("lenet_pl.train", "trainer.fast_dev_run=true", cwd=tmp_path, env=command_environment)
    assert done.returncode == 0, done.stderr
    assert "fast_dev_run: 1 training batch" in done.stdout
    assert list(tmp_path.iterdir()) == []
