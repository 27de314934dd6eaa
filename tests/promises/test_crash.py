"""However a training ends, its files are complete and the reason is reported."""

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

from lenet_pl.cli.error_messages import exit_code, format_error
from lenet_pl.cli.subprocess_job import run_in_subprocess
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.config_file import read_settings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

SMALL = (
    "model.channels=[[2],[4]]",
    "model.hidden_sizes=[8]",
    "augment=affine",
    "model.dropout=0.2",
    "callbacks=no_early_stopping",
    "loader.batch_size=50",
    "trainer.limit_train_batches=4",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=none",
)
STEPS = 4  # of an epoch

Where = Callable[[str], Path]


@pytest.fixture
def where(tmp_path: Path) -> Iterator[Where]:
    """Create an empty folder on a kind of file system; skip the test if there is none."""
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
    """List the temporary files with their inode numbers."""
    return {path: path.stat().st_ino for path in folder.rglob("*.part")}


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def assert_same_weights(folder: Path, other: Path) -> None:
    ours, theirs = (load_checkpoint(path / "checkpoints" / "last.ckpt")["state_dict"] for path in (folder, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


KILLS = "kill -9 at random times on {}: last.ckpt is complete, no temporary file stays, the resumed run is identical"


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
        """Train in a subprocess that is killed when `kill` returns."""
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

        ended = run_in_subprocess("train", settings, folder, "", started, place / "log")
        for killer in killers:
            killer.join()
        return ended

    def next_checkpoint() -> None:
        before, end = written(), time.monotonic() + 120
        while written() == before and time.monotonic() < end:
            time.sleep(0.001)

    def written() -> int:
        return last.stat().st_mtime_ns if last.exists() else 0

    assert live(lambda: None)[0] == -9  # the fork server takes seconds to start
    begun = time.monotonic()
    assert live(next_checkpoint)[0] == -9
    to_begin = time.monotonic() - begun
    epoch = statistics.median(row["seconds"] for row in rows(straight))
    chance = random.Random(kills)
    left: dict[Path, int] = {}
    steps, resumed = load_checkpoint(last)["global_step"], 0
    for number in range(kills - 2):
        # At any time after the start, or shortly after a checkpoint was written

        def kill(number: int = number) -> None:
            if number % 2:
                next_checkpoint()
            time.sleep(chance.uniform(0, 3 * epoch if number % 2 else to_begin + 10 * epoch))

        assert live(kill) == (-9, "killed by SIGKILL")
        now = load_checkpoint(last)["global_step"]  # raises for an incomplete file
        load_checkpoint(folder / "checkpoints" / "best.ckpt")
        assert read_settings(folder)["seed"] == 0
        assert STEPS * len(rows(folder)) in (now, now + STEPS)  # written directly before the checkpoint
        assert now >= steps
        if now > steps:  # it had started, so older temporary files are removed
            resumed += 1
            assert not left.items() & strays(folder).items()
        steps, left = now, strays(folder)
    assert resumed >= (kills - 2) // 2
    assert live(None) == (0, "")
    assert strays(folder) == {}
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert_same_weights(folder, straight)


class AtEpoch(lightning.Callback):
    """Modify the run folder at the start of an epoch, counted from 0."""

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
    "crash",
    "no space for last.ckpt: one error line with file and reason, the old file stays, and the run resumes with space",
)
def test_no_space_is_loud_and_costs_nothing_that_was_saved(settings: TrainSettings, tmp_path: Path) -> None:
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    folder, straight = tmp_path / "run", tmp_path / "straight"
    folder.mkdir()
    straight.mkdir()
    saved: list[bytes] = []

    def fill() -> None:
        saved.append(last.read_bytes())
        last.with_name("last.ckpt.part").symlink_to("/dev/full")  # a full file system

    with pytest.raises(OSError, match="No space left") as error:
        train(settings, folder, [AtEpoch(2, fill)])
    line = format_error(error.value, "train")
    assert line == f"{last}: No space left on device"
    assert exit_code(error.value) == 1
    assert last.read_bytes() == saved[0]
    assert strays(folder) == {}
    assert not (folder / "results.json").exists()
    train(settings.model_copy(update={"resume": True}), folder)
    train(settings, straight)
    assert_same_weights(folder, straight)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@case("crash", "TMPDIR full or missing: nothing is written there, and the run is saved")
def test_nothing_depends_on_the_folder_for_temporary_files(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/dev/full")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/full/none")
    train(settings, tmp_path)
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4 * STEPS


@case(
    "crash", "the run folder is deleted during training: one error line with its path, exit code 1, it is not recreated"
)
def test_a_folder_that_disappears_is_loud(settings: TrainSettings, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(OSError, match="No such file") as error:
        train(settings, folder, [AtEpoch(1, lambda: shutil.rmtree(folder))])
    line = format_error(error.value, "train")
    assert line.startswith(f"{folder}/")
    assert line.endswith(": No such file or directory")
    assert "\n" not in line
    assert exit_code(error.value) == 1
    assert not folder.exists()


@case("crash", "the checkpoint folder is not writable: one error line with its path, before the first step")
def test_a_folder_that_cannot_be_written_is_loud(settings: TrainSettings, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("in the way")  # also fails for root
    steps = AtEpoch(0, lambda: pytest.fail("an epoch has begun"))
    with pytest.raises(FileExistsError) as error:
        train(settings, tmp_path, [steps])
    assert format_error(error.value, "train") == f"{tmp_path / 'checkpoints'}: File exists"
    assert exit_code(error.value) == 1
    assert (tmp_path / "checkpoints").read_text() == "in the way"


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number,
            marks=case(
                "crash",
                f"{number.name} in training: exits after the step with {128 + number}, last.ckpt contains the step",
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
                if trainer.global_step == 5:  # global_step is incremented after this hook
                    signal.raise_signal(number)

            trainer.optimizers[0].register_step_post_hook(after)

    with pytest.raises(Interruption) as stop:
        train(settings, tmp_path, [AfterSixSteps()])
    assert stop.value.exit_code == 128 + number
    assert load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 6
    assert strays(tmp_path) == {}
    assert not (tmp_path / "results.json").exists()
