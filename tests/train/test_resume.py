"""A run that was stopped and continued is the run that was not: whole checkpoints are compared, at tolerance 0."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch
import yaml
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from promise import case
from stopping import SignalAfter

from lenet_pl.errors import DataError, SettingError, UserError
from lenet_pl.runtime.folder_lock import lock_run_folder
from lenet_pl.runtime.signals import Interruption, SignalHandler
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

# Batch normalisation, dropout, augmentation, a plateau that is reached, early stopping; 24 steps of an epoch are more
# than a stretch of Lightning's holds
REAL = (
    "model=lenet_bn",
    "model.channels=[[8],[16]]",
    "model.hidden_sizes=[32]",
    "augment=affine",
    "scheduler.patience=0",
    "optimizer.lr=0.4",
    "scheduler.monitor=val/loss",
    "scheduler.factor=0.5",
    "callbacks.early_stopping.patience=3",
    "loss.label_smoothing=0.1",
    "trainer.max_epochs=4",
    "trainer.limit_train_batches=24",
    "loader.batch_size=50",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "trainer.precision=32-true",  # in bf16-mixed, which some CPUs would choose, the plateau is not reached
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=none",
    "report=none",
)
STEPS = 24  # of an epoch


@pytest.fixture(scope="module")
def settings(compose: Compose) -> TrainSettings:
    return compose(*REAL)


@pytest.fixture(scope="module")
def straight(settings: TrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run that nobody stopped."""
    folder = tmp_path_factory.mktemp("straight")
    train(settings, folder)
    assert (
        len({row["lr"] for row in checkpoint(folder)["callbacks"]["EpochRecorder"]["epochs"]}) > 1
    )  # the plateau fired
    return folder


def test_the_comparison_sees_a_single_changed_bit(straight: Path) -> None:
    a, b = checkpoint(straight), checkpoint(straight)
    assert difference(a, b) == []
    name, weights = next((k, v) for k, v in b["state_dict"].items() if v.is_floating_point())
    weights.view(torch.int32).flatten()[0] ^= 1
    assert difference(a, b) == [f"/state_dict/{name}"]


STOPS = {
    "after_epoch_1": [STEPS],
    "after_epoch_2": [2 * STEPS],
    "after_epoch_3": [3 * STEPS],
    "four_times": [5, STEPS, STEPS + 21, 3 * STEPS],
    "after_the_first_step_of_all": [1],
    "after_the_first_step_of_an_epoch": [2 * STEPS + 1],
    "in_the_middle_of_an_epoch": [STEPS + 11],
    "at_the_end_of_a_stretch": [STEPS + 20],
    "before_the_last_step_of_an_epoch": [2 * STEPS - 1],
    "twice_in_one_epoch": [STEPS + 3, STEPS + 9],
    "in_the_last_epoch": [3 * STEPS + 7],
    "after_the_last_step_of_all": [4 * STEPS],
}


EXACT = "interrupted {} and resumed: last.ckpt and best.ckpt as without interruption, at tolerance 0"


@pytest.mark.slow
@pytest.mark.parametrize(
    "stops",
    [pytest.param(s, id=n, marks=case("resume", EXACT.format(n.replace("_", " ")))) for n, s in STOPS.items()],
)
def test_resume_is_exact(stops: list[int], settings: TrainSettings, straight: Path, tmp_path: Path) -> None:
    for step in stops:
        with pytest.raises(Interruption) as stop:
            train(settings.model_copy(update={"resume": "auto"}), tmp_path, [SignalAfter(step)])
        assert stop.value.exit_code == 143
        assert checkpoint(tmp_path)["global_step"] == step
        assert not (tmp_path / "results.json").exists()
    results = train(settings.model_copy(update={"resume": True}), tmp_path)
    assert difference(checkpoint(straight), checkpoint(tmp_path)) == []
    assert difference(checkpoint(straight, "best"), checkpoint(tmp_path, "best")) == []
    assert results["resumed_at"] == [step for step in stops if step < 4 * STEPS]  # later there is nothing left to train
    without = json.loads((straight / "results.json").read_text())
    for key in ("metrics", "per_class_accuracy", "epochs", "best_epoch", "num_lr_changes", "stopped_early"):
        assert results[key] == without[key]


NO_WORKERS = "the same interrupts with two loader workers, as batches are made in the training process"
OTHERS = {
    "with two threads": ("trainer.num_threads=2",),
    "in bf16-mixed precision": ("trainer.precision=bf16-mixed",),
    "with a one-cycle lr by step": ("scheduler=onecycle",),
    "with an average of the weights": ("callbacks.ema.decay=0.9",),
    "with another optimizer and clipping": ("optimizer=sgd", "optimizer.lr=0.05", "trainer.gradient_clip_val=1"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [pytest.param(o, id=n, marks=case("resume", EXACT.format(n), instead_of=NO_WORKERS)) for n, o in OTHERS.items()],
)
def test_resume_is_exact_in_other_circumstances(
    overrides: tuple[str, ...], compose: Compose, tmp_path: Path, threads: None
) -> None:
    settings = compose(*(word for word in REAL if "scheduler" not in word), *overrides)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    train(settings, whole)
    for step in (STEPS + 7, 3 * STEPS - 1):
        with pytest.raises(Interruption):
            train(settings.model_copy(update={"resume": "auto"}), stopped, [SignalAfter(step)])
    train(settings.model_copy(update={"resume": True}), stopped)
    for name in ("last", "best"):
        assert difference(checkpoint(whole, name), checkpoint(stopped, name)) == []


STEP_HOOKS = {
    "with step hooks": (),
    "with step hooks and accumulation": ("trainer.accumulate_grad_batches=2",),
    "with step hooks and a one-cycle lr by step": ("scheduler=onecycle", "trainer.accumulate_grad_batches=3"),
    "with step hooks and an average of the weights": ("callbacks.ema.decay=0.9", "augment=none"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [pytest.param(o, id=n, marks=case("resume", EXACT.format(n))) for n, o in STEP_HOOKS.items()]
)
def test_resume_is_exact_with_step_hooks(overrides: tuple[str, ...], compose: Compose, tmp_path: Path) -> None:
    kept = (word for word in REAL if "scheduler=onecycle" not in overrides or "scheduler" not in word)
    settings = compose(*kept, "trainer.steps_per_hook=1", *overrides)
    each = STEPS // settings.trainer.accumulate_grad_batches
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    train(settings, whole)
    for step in (1, each + 3, 2 * each, 3 * each - 1):
        with pytest.raises(Interruption):
            train(settings.model_copy(update={"resume": "auto"}), stopped, [SignalAfter(step)])
        assert checkpoint(stopped)["global_step"] == step
    train(settings.model_copy(update={"resume": True}), stopped)
    for name in ("last", "best"):
        assert difference(checkpoint(whole, name), checkpoint(stopped, name)) == []


class StepHook(lightning.Callback):
    """A callback that needs the hooks of each step."""

    def on_train_batch_end(self, *_: object) -> None:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["plateau", "onecycle"])
@pytest.mark.parametrize("first", [1, 20])
@case("resume", "interrupted on the fast path and resumed with step hooks, and the reverse: as without interruption")
def test_resume_is_exact_where_step_hooks_come_or_go(
    first: int, scheduler: str, compose: Compose, tmp_path: Path
) -> None:
    kept = (word for word in REAL if scheduler == "plateau" or "scheduler" not in word)
    settings = compose(*kept, f"scheduler={scheduler}", "callbacks.ema.decay=0.9")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    train(settings, whole)
    hooks: list[lightning.Callback] = [StepHook()] if first == 1 else []
    for step in (STEPS + 7, 3 * STEPS - 1):
        with pytest.raises(Interruption):
            train(settings.model_copy(update={"resume": "auto"}), stopped, [SignalAfter(step), *hooks])
        hooks = [] if hooks else [StepHook()]
    train(settings.model_copy(update={"resume": True}), stopped, hooks)
    for name in ("last", "best"):
        found = difference(checkpoint(whole, name), checkpoint(stopped, name))
        # Lightning counts steps of the scheduler, zeroed gradients and optimizer steps apart in both ways
        apart = ("scheduler_progress", "automatic_optimization", "manual_optimization")
        assert [place for place in found if not any(f"epoch_loop.{loop}" in place for loop in apart)] == []


def test_early_stopping_stays_stopped(compose: Compose, tmp_path: Path) -> None:
    stopping = ("callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=9", "trainer.max_epochs=9")
    settings = compose(*REAL, *stopping)
    results = train(settings, tmp_path)
    assert (results["epochs"], results["stopped_early"]) == (2, True)
    (tmp_path / "results.json").unlink()  # as if it had been killed while it was tested
    again = train(settings.model_copy(update={"resume": True}), tmp_path)
    assert (again["epochs"], again["stopped_early"], again["metrics"]) == (2, True, results["metrics"])


def test_a_moved_run_keeps_its_best_epoch(settings: TrainSettings, straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "before"
    folder.mkdir()
    with pytest.raises(Interruption):
        train(settings, folder, [SignalAfter(3 * STEPS + 1)])
    moved = folder.rename(tmp_path / "after")
    train(settings.model_copy(update={"resume": True}), moved)
    assert difference(checkpoint(straight, "best"), checkpoint(moved, "best")) == []
    assert not folder.exists()


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            n, id=n.name, marks=case("crash", f"{n.name} in validation: exits after the epoch with code {128 + n}")
        )
        for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ],
)
def test_a_signal_in_validation_lets_the_epoch_end(
    number: signal.Signals, settings: TrainSettings, tmp_path: Path, heard: None
) -> None:
    class InValidation(lightning.Callback):
        def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(Interruption) as stop:
        train(settings, tmp_path, [InValidation()])
    assert stop.value.exit_code == 128 + number
    last = checkpoint(tmp_path)
    assert (last["global_step"], len(last["callbacks"]["EpochRecorder"]["epochs"])) == (STEPS, 1)
    assert signal.getsignal(number) == before


@case("crash", "Ctrl-C twice: exits at once with 130, last.ckpt is the last complete one")
@case("resume", "SIGINT in training, then resumed: as without interruption, at tolerance 0")
def test_a_second_signal_ends_at_once_and_leaves_the_last_whole_checkpoint(
    settings: TrainSettings, straight: Path, tmp_path: Path
) -> None:
    class Twice(lightning.Callback):
        def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            if trainer.current_epoch == 1:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interruption) as stop:
        train(settings, tmp_path, [Twice()])
    assert stop.value.exit_code == 130
    assert checkpoint(tmp_path)["global_step"] == STEPS
    train(settings.model_copy(update={"resume": True}), tmp_path)
    assert difference(checkpoint(straight), checkpoint(tmp_path)) == []


@pytest.fixture
def stopped(settings: TrainSettings, straight: Path, tmp_path: Path) -> Path:
    """A copy of the run that lacks its end."""
    folder = tmp_path / "stopped"
    shutil.copytree(straight, folder)
    (folder / "results.json").unlink()
    return folder


Resume = Callable[..., TrainSettings | None]


@pytest.fixture
def resume(compose: Compose) -> Resume:
    def _resume(folder: Path, *overrides: str, sweep: bool = False) -> TrainSettings | None:
        given = compose(f"run={folder}", *overrides)
        return begin_or_resume(given, folder, [f"run={folder}", *overrides], sweep)

    return _resume


def test_a_folder_may_have_any_name(compose: Compose, stopped: Path) -> None:
    folder = stopped.rename(stopped.parent / "a b é [1]=2, ${x}")
    given = compose().model_copy(update={"run": str(folder), "resume": True})
    resumed = begin_or_resume(given, folder, ["resume=true"], False)
    assert resumed is not None
    assert resumed.run == str(folder)


def test_the_runs_own_settings_are_taken(resume: Resume, stopped: Path, settings: TrainSettings) -> None:
    own = {"run": str(stopped), "resume": True}
    assert resume(stopped, "resume=true") == settings.model_copy(update=own)
    same = resume(stopped, "resume=true", *REAL[:-3], "callbacks.progress_bar=true", "callbacks.model_summary=true")
    assert same is not None
    assert same.optimizer == settings.optimizer


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param(
            ["optimizer.lr=0.02"],
            ["optimizer.lr=0.02", "0.4"],
            marks=case("resume", "another lr: rejected with the key and both values"),
        ),
        (["optimizer.lr=0.001"], ["optimizer.lr=0.001", "0.4"]),  # the default, but asked for
        pytest.param(
            ["model=lenet5"],
            ["model.", "but the run has"],
            marks=case("resume", "another model: rejected with the key"),
        ),
        (["data=fake"], ["data.", "but the run has"]),
        (["seed=1"], ["seed=1", "0"]),
        (["augment=none"], ["augment."]),
        (["trainer.max_epochs=3"], ["trainer.max_epochs=3", "4"]),
        (["experiment=lenet_bn_mnist"], ["but the run has"]),
    ],
)
def test_a_changed_setting_is_refused_by_name(
    overrides: list[str], words: list[str], resume: Resume, stopped: Path
) -> None:
    with pytest.raises(SettingError) as error:
        resume(stopped, "resume=true", *overrides)
    assert [word for word in ["resume: ", *words] if word not in str(error.value)] == []
    assert "\n" not in str(error.value)


def test_more_epochs_may_be_asked_for_unless_the_lr_was_planned(resume: Resume, stopped: Path) -> None:
    longer = resume(stopped, "resume=true", "trainer.max_epochs=6")
    assert longer is not None
    assert longer.trainer.max_epochs == 6
    assert longer.optimizer.lr == 0.4
    content = yaml.safe_load((stopped / "config.yaml").read_text())
    (stopped / "config.yaml").write_text(yaml.safe_dump(content | {"scheduler": {"name": "cosine", "eta_min": 0.0}}))
    with pytest.raises(SettingError, match=r"^resume: got trainer\.max_epochs=6, but the run has 4, for which"):
        resume(stopped, "resume=true", "trainer.max_epochs=6")


@case("resume", "resume=true without a run or without last.ckpt: rejected with a solution, nothing is trained")
def test_true_wants_a_run_and_auto_begins_one(resume: Resume, stopped: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SettingError, match=r"^resume: .*empty contains no run; must be .*resume=auto"):
        resume(empty, "resume=true")
    assert resume(empty, "resume=auto") is not None
    assert resume(empty, "resume=true", sweep=True) is not None
    (stopped / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(SettingError, match=r"^resume: .* has no checkpoints/last\.ckpt.*resume=auto"):
        resume(stopped, "resume=true")
    assert resume(stopped, "resume=auto") is not None
    (empty / "notes.txt").touch()
    with pytest.raises(SettingError, match="is not empty"):
        resume(empty, "resume=auto")


def test_without_resume_a_run_is_not_touched(resume: Resume, stopped: Path) -> None:
    with pytest.raises(SettingError, match="already contains a run"):
        resume(stopped)


def test_a_finished_run_is_left_alone_by_who_asks_for_that(
    resume: Resume, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(straight, "resume=auto") is None
    assert capsys.readouterr().out == f"already finished: {straight}\n"
    assert resume(straight, "resume=true", sweep=True) is None  # the table of a sweep says that it was kept
    assert capsys.readouterr().out == ""
    with pytest.raises(SettingError, match=r"^resume: .*straight0 is finished; use resume=auto to leave it"):
        resume(straight, "resume=true")


@pytest.mark.parametrize("content", [b"", b"seed: \xff", b"a: 1\n", b"seed: x\ndata: 1\nmodel: 2\ntrainer: 3\n"])
def test_a_damaged_config_is_named(content: bytes, resume: Resume, stopped: Path) -> None:
    (stopped / "config.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"^resume: .*stopped: .*; must be a run of lenet_pl\.train"):
        resume(stopped, "resume=true")


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped"])
def test_a_damaged_checkpoint_is_named_and_nothing_is_trained(
    damage: str, settings: TrainSettings, stopped: Path
) -> None:
    last = stopped / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    weights = checkpoint(stopped)["state_dict"]["model.classifier.linear1.weight"].numpy().tobytes()
    content[content.index(weights) + 5] ^= 1
    last.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "flipped": content}[damage])
    with pytest.raises(UserError, match=r"last\.ckpt: not a valid checkpoint"):
        train(settings.model_copy(update={"resume": True}), stopped)


@pytest.mark.slow
@case("resume", "SIGKILL in training, then resumed: as without interruption, at tolerance 0")
@case("crash", "a stale .part file of a killed process: removed at the next start")
def test_a_killed_command_goes_on_in_its_folder(
    straight: Path, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "lenet_pl.train", f"run={tmp_path / 'run'}"]
    process = subprocess.Popen([*command, *REAL], env=command_environment, stdout=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.communicate()
    (tmp_path / "run" / "checkpoints" / "last.ckpt.part").write_bytes(b"half")  # as a kill in mid-write leaves it
    done = subprocess.run(
        [*command, "resume=true"], env=command_environment, capture_output=True, text=True, check=True
    )
    assert f"resuming {tmp_path / 'run'}" in done.stdout
    assert difference(checkpoint(straight), checkpoint(tmp_path / "run")) == []
    assert not list((tmp_path / "run").rglob("*.part"))


def test_a_folder_in_use_is_refused(settings: TrainSettings, tmp_path: Path) -> None:
    with (
        lock_run_folder(tmp_path),
        pytest.raises(SettingError, match=r"^run: .* is locked by another process; choose "),
    ):
        train(settings, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_a_library_swallows_still_ends_the_work(heard: None) -> None:
    def work() -> None:
        with SignalHandler():
            with contextlib.suppress(Interruption):  # as code of a library that is being imported does
                signal.raise_signal(signal.SIGTERM)
            raise RecursionError("what came of it")

    with pytest.raises(Interruption) as stop:
        work()
    assert stop.value.exit_code == 143


def test_a_signal_that_was_swallowed_ends_the_training_at_its_next_step(heard: None) -> None:
    with SignalHandler() as signals:
        with contextlib.suppress(Interruption):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interruption):
            signals.check()
