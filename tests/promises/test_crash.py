"""Whatever ends a training, what it leaves is whole, and what ends it is heard of."""

import csv
import os
import random
import shutil
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from conftest import Compose
from promise import case

from lenet_pl.checkpoint import load_checkpoint
from lenet_pl.error_lines import exit_code, explain
from lenet_pl.interruption import Interruption
from lenet_pl.isolation import run_alone
from lenet_pl.resume import begin_or_resume
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.recorded import read_settings
from lenet_pl.train import train

SMALL = (
    "model.channels=[[2],[4]]",
    "model.hidden=[8]",
    "augment=affine",
    "model.dropout=0.2",
    "callbacks=all_epochs",
    "loader.batch_size=50",
    "trainer.limit_train_batches=4",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=none",
)
STEPS = 4  # of an epoch

Where = Callable[[str], Path]


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Where]:
    """Give an empty folder on a file system of a kind; skips where there is none of it."""
    made: list[Path] = []

    def _where(kind: str) -> Path:
        if kind == "disk":
            return tmp_path
        memory = Path("/dev/shm")
        if not memory.is_dir() or not os.access(memory, os.W_OK):
            pytest.skip("needs a file system in memory at /dev/shm")
        made.append(Path(tempfile.mkdtemp(dir=memory)))
        return made[-1]

    yield _where
    for folder in made:
        shutil.rmtree(folder)


def strays(folder: Path) -> dict[Path, int]:
    """List temporary files, each with the number that its file system gave it."""
    return {path: path.stat().st_ino for path in folder.rglob("*.part")}


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def assert_same_weights(folder: Path, other: Path) -> None:
    ours, theirs = (load_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (folder, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


KILLS = "kill -9 at random moments on {}: last.ckpt whole each time, no stray file stays, ends as if never killed"


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=case("crash", KILLS.format(kind))) for kind in ("disk", "tmpfs")]
)
@pytest.mark.parametrize("kills", [pytest.param(5, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.long)])
def test_a_run_that_is_killed_at_any_moment_goes_on(kind: str, kills: int, compose: Compose, where: Where) -> None:
    place = where(kind)
    folder, straight = place / "killed", place / "straight"
    folder.mkdir()
    straight.mkdir()
    last = folder / "checkpoints" / "last.ckpt"
    given = compose(*SMALL, f"trainer.max_epochs={15 * kills}", f"run={folder}", "resume=auto")
    train(given.model_copy(update={"resume": False}), straight)

    def live(kill: Callable[[], Any] | None) -> tuple[int, str]:
        """Train in a process of its own, which is killed when `kill` returns."""
        settings = begin_or_resume(given, folder, [], False)
        assert settings is not None, "finished before all kills"
        killers: list[threading.Thread] = []

        def started(process: int) -> None:
            def wait_and_kill() -> None:
                assert kill
                kill()
                os.kill(process, signal.SIGKILL)

            if kill:
                killers.append(threading.Thread(target=wait_and_kill))
                killers[0].start()

        ended = run_alone("train", settings, folder, "", started, place / "log")
        for killer in killers:
            killer.join()
        return ended

    def next_checkpoint() -> None:
        before, end = written(), time.monotonic() + 120
        while written() == before and time.monotonic() < end:
            time.sleep(0.001)

    def written() -> int:
        return last.stat().st_mtime_ns if last.exists() else 0

    assert live(lambda: None)[0] == -9  # what jobs are forked from takes seconds to start
    begun = time.monotonic()
    assert live(next_checkpoint)[0] == -9
    to_begin = time.monotonic() - begun
    epoch = statistics.median(row["seconds"] for row in rows(straight))
    chance = random.Random(kills)
    left: dict[Path, int] = {}
    steps, resumed = load_checkpoint(last)["global_step"], 0
    for number in range(kills - 2):
        # At any moment since its start, or soon after it has written a checkpoint

        def kill(number: int = number) -> None:
            if number % 2:
                next_checkpoint()
            time.sleep(chance.uniform(0, 3 * epoch if number % 2 else to_begin + 10 * epoch))

        assert live(kill) == (-9, "killed by SIGKILL")
        now = load_checkpoint(last)["global_step"]  # raises for a file that is not whole
        load_checkpoint(folder / "checkpoints" / "best.ckpt")
        assert read_settings(folder)["seed"] == 0
        assert STEPS * len(rows(folder)) in (now, now + STEPS)  # written just before the checkpoint
        assert now >= steps
        if now > steps:  # it had begun, so what was left before is gone
            resumed += 1
            assert not left.items() & strays(folder).items()
        steps, left = now, strays(folder)
    assert resumed >= (kills - 2) // 2
    assert live(None) == (0, "")
    assert strays(folder) == {}
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert_same_weights(folder, straight)


class AtEpoch(lightning.Callback):
    """Do something to the run folder when an epoch, counted from 0, begins."""

    def __init__(self, epoch: int, work: Callable[[], Any]) -> None:
        self.epoch, self.work = epoch, work

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            self.work()


@pytest.fixture
def settings(compose: Compose) -> TrainSettings:
    return compose(*SMALL, "trainer.max_epochs=4")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@case(
    "crash", "no space for last.ckpt: one line with file and reason, the old one stays, and the run goes on with space"
)
def test_no_space_is_loud_and_costs_nothing_that_was_saved(settings: TrainSettings, tmp_path: Path) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    folder, straight = tmp_path / "run", tmp_path / "straight"
    folder.mkdir()
    straight.mkdir()
    saved: list[bytes] = []

    def fill() -> None:
        saved.append(last.read_bytes())
        last.with_name("last.ckpt.part").symlink_to("/dev/full")  # what is written there finds no space

    with pytest.raises(OSError, match="No space left") as error:
        train(settings, folder, [AtEpoch(2, fill)])
    line = explain(error.value, "train")
    assert line == f"{last}: No space left on device"
    assert exit_code(error.value) == 1
    assert last.read_bytes() == saved[0]
    assert strays(folder) == {}
    assert not (folder / "results.json").exists()
    train(settings.model_copy(update={"resume": True}), folder)
    train(settings, straight)
    assert_same_weights(folder, straight)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@case("crash", "TMPDIR full or absent: nothing is written there, the run is saved")
def test_nothing_depends_on_the_folder_for_temporary_files(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/dev/full")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full/none")
    train(settings, tmp_path)
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4 * STEPS


@case("crash", "the run folder is deleted during training: one line that names it, exit code 1, nothing is made anew")
def test_a_folder_that_disappears_is_loud(settings: TrainSettings, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(OSError, match="No such file") as error:
        train(settings, folder, [AtEpoch(1, lambda: shutil.rmtree(folder))])
    line = explain(error.value, "train")
    assert line.startswith(f"{folder}/")
    assert line.endswith(": No such file or directory")
    assert "\n" not in line
    assert exit_code(error.value) == 1
    assert not folder.exists()


@case("crash", "the checkpoint folder cannot be written: one line that names it, before the first step")
def test_a_folder_that_cannot_be_written_is_loud(settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")  # root is refused by this, too
    steps = AtEpoch(0, lambda: pytest.fail("an epoch has begun"))
    with pytest.raises(FileExistsError) as error:
        train(settings, tmp_path, [steps])
    assert explain(error.value, "train") == f"{tmp_path / 'checkpoints'}: File exists"
    assert exit_code(error.value) == 1
    assert (tmp_path / "checkpoints").read_text() == "in the way"


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number,
            marks=case(
                "crash", f"{number.name} in training: ends after the step with {128 + number}, last.ckpt has it"
            ),
            id=number.name,
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ],
)
def test_a_signal_in_training_ends_after_the_step(
    number: signal.Signals, settings: TrainSettings, tmp_path: Path, heard: None
) -> None:
    class AfterSixSteps(lightning.Callback):
        def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            def after(*_: Any) -> None:
                if trainer.global_step == 5:  # the step is counted after this hook
                    signal.raise_signal(number)

            trainer.optimizers[0].register_step_post_hook(after)

    with pytest.raises(Interruption) as stop:
        train(settings, tmp_path, [AfterSixSteps()])
    assert stop.value.exit_code == 128 + number
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 6
    assert strays(tmp_path) == {}
    assert not (tmp_path / "results.json").exists()
