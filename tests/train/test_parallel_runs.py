"""Several seeds or folds at once: the same bits as one after another, one copy of the images, and clear ends."""

import csv
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from conftest import Compose
from quiet import WITHOUT_FIGURES

from lenet_pl.errors import SettingError, UserError
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

SHORT = (
    *WITHOUT_FIGURES,
    "augment=affine",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=3",
    "model.dropout=0.2",
)
MEASURED = ("seconds", "images/s")


def figures(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return [{key: value for key, value in row.items() if key not in MEASURED} for row in csv.DictReader(stream)]


def assert_same_run(one: Path, other: Path) -> None:
    assert figures(one) == figures(other)
    for which in ("last", "best"):
        got, expected = (load_checkpoint(run / "checkpoints" / f"{which}.ckpt") for run in (one, other))
        assert got["state_dict"].keys() == expected["state_dict"].keys()
        assert all(torch.equal(got["state_dict"][name], value) for name, value in expected["state_dict"].items())
    texts = [
        [line for line in (run / "config.yaml").read_text().splitlines() if line[:4] != "run:"] for run in (one, other)
    ]
    assert texts[0] == texts[1]
    results = [json.loads((run / "results.json").read_text()) for run in (one, other)]
    assert results[0].keys() == results[1].keys()
    for key in ("metrics", "epochs", "best_epoch", "images", "test_uses", "threads", "command"):
        assert results[0][key] == results[1][key], key


def trained(settings: TrainSettings, folder: Path, callbacks: Sequence[Any] = ()) -> dict[str, Any]:
    folder.mkdir()
    return train(settings, folder, callbacks)


class KillsSeed5(lightning.Callback):
    """Ends the process of seed 5 the hard way, after its first epoch."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if pl_module.seed == 5 and trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_seeds_at_once_have_the_bits_of_seeds_one_after_another_also_after_a_kill(
    compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*SHORT, "test=false", "seeds=[3,5]")
    expected = trained(compose(*given), tmp_path / "one")
    with pytest.raises(UserError, match=r"^killed by SIGKILL; use resume=auto to train it again") as caught:
        trained(compose(*given, "n_jobs=2"), tmp_path / "two", [KillsSeed5()])
    assert (caught.value.__notes__, caught.value.exit_code) == (["seed 5"], 1)
    assert [(tmp_path / "two" / f"seed_{seed}" / "results.json").exists() for seed in (3, 5)] == [True, False]
    said = capsys.readouterr().out
    assert "2 seeds, 2 at once, whose output is in log.txt of each folder\n" in said
    assert "seed 3: finished, validation accuracy 0." in said
    assert "seed 5: killed by SIGKILL" in said
    # Resumed with another number of processes
    again = begin_or_resume(compose(*given, "resume=auto", "n_jobs=1"), tmp_path / "two", ["n_jobs=1"], False)
    assert again
    found = train(again, tmp_path / "two")
    assert (found["metrics"], found["std"]) == (expected["metrics"], expected["std"])
    for seed in (3, 5):
        assert_same_run(tmp_path / "two" / f"seed_{seed}", tmp_path / "one" / f"seed_{seed}")


@pytest.mark.long
def test_folds_at_once_go_on_after_a_signal_as_if_it_had_not_been(compose: Compose, tmp_path: Path) -> None:
    given = (*SHORT, "folds=2")
    expected = trained(compose(*given), tmp_path / "one")
    settings, folder = compose(*given, "n_jobs=2", "resume=auto"), tmp_path / "two"

    def interrupt() -> None:
        while not list(folder.glob("fold_*/metrics.csv")):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGTERM)

    folder.mkdir()
    threading.Thread(target=interrupt).start()
    with pytest.raises(Interruption):
        train(settings, folder)
    assert not multiprocessing.active_children()
    assert not (folder / "results.json").exists()
    again = begin_or_resume(settings, folder, [], False)
    assert again
    found = train(again, folder)
    assert found["pooled"] == expected["pooled"]
    assert found["each"] == expected["each"]
    for number in (1, 2):
        assert_same_run(folder / f"fold_{number}", tmp_path / "one" / f"fold_{number}")


def local_callbacks() -> Iterator[Any]:
    class Local(lightning.Callback):
        pass

    yield Local()


@pytest.mark.parametrize(
    ("overrides", "callbacks", "line"),
    [
        (("n_jobs=2",), [], r"^n_jobs: got 2 without seeds or folds; must be 1, or use seeds="),
        (
            ("seeds=[0,1]", "n_jobs=2"),
            [*local_callbacks()],
            r"^callbacks: cannot be sent to the processes of n_jobs=2 \(",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    overrides: tuple[str, ...], callbacks: list[Any], line: str, compose: Compose, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=line):
        train(compose(*WITHOUT_FIGURES, *overrides), tmp_path, callbacks)
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_gpu_is_for_one_training_at_a_time(compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingError, match=r"^n_jobs: got 2 on a device of the kind gpu, .* trainer.accelerator=cpu$"):
        train(compose("seeds=[0,1]", "n_jobs=2", "logger=none", "trainer.accelerator=gpu"), tmp_path)
