"""Common uses of trainings and common failures: no result is lost or silently skipped."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import yaml
from checkpoint_diff import checkpoint, difference
from conftest import Compose
from lightning.pytorch.callbacks import ModelCheckpoint
from matplotlib.backends.backend_agg import FigureCanvasAgg
from promise import case
from quiet import QUIET
from stopping import SignalAfter
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from lenet_pl.artifacts import chance_check, run_folder, run_plots
from lenet_pl.cli import sweep
from lenet_pl.cli.command import run_command
from lenet_pl.cli.sweep import SWEEP, Job, report_sweep
from lenet_pl.compare.run_index import find_runs
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import build_trainer, silence_lightning_logs
from lenet_pl.errors import SettingError
from lenet_pl.models.convnet import ConvNet
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

STEPS = 6  # of an epoch
SMALL = (
    *QUIET,
    "model.channels=[[2],[4]]",
    "model.hidden_sizes=[8]",
    "model.dropout=0.2",
    "augment=affine",
    "loader.batch_size=200",
    f"trainer.limit_train_batches={STEPS}",
    "optimizer.lr=0.02",
    "scheduler.patience=0",
)
MEASURED = ("seconds", "images/s")

Command = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def pictures() -> None:
    """Draw plots, which take longer than these trainings and are off by default."""


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(run_folder, "pictures_of", lambda *_: {})


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `python -m lenet_pl.train` in this process; return the exit code, stdout, and the error lines."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(run_plots, "SAMPLES", 1)  # plots would take longer than training

    def _command(*arguments: str) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        try:
            run_command("train", TrainSettings, train, prepare=begin_or_resume)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err.splitlines()

    return _command


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def results(folder: Path, name: str = "results.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def figures(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(stream)]


def assert_same_run(folder: Path, straight: Path) -> None:
    """Assert that checkpoints, metrics and results equal those of the uninterrupted run."""
    assert difference(checkpoint(straight), checkpoint(folder)) == []
    # The checkpoint of an earlier best epoch records fewer max_epochs
    assert set(difference(checkpoint(straight, "best"), checkpoint(folder, "best"))) <= {
        "/hyper_parameters/settings/trainer/max_epochs"
    }
    assert figures(folder) == figures(straight)
    for key in ("metrics", "per_class_accuracy", "epochs", "best_epoch", "num_lr_changes", "stopped_early", "images"):
        assert results(folder)[key] == results(straight)[key], key


# Resuming a finished run


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("callbacks.early_stopping.patience=3",), id="plateau, early stopping"),
        pytest.param(
            ("scheduler=step", "scheduler.step_size=1", "scheduler.gamma=0.5"), id="step", marks=pytest.mark.slow
        ),
        pytest.param(
            ("scheduler=none", "optimizer=sgd", "callbacks.ema.decay=0.9"),
            id="averaged weights",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("callbacks.checkpoint.monitor=train/loss", "test=false"), id="not tested", marks=pytest.mark.slow
        ),
    ],
)
@case(
    "situations",
    "a finished run of 2 epochs, resume=true trainer.max_epochs=4: bit-identical to an uninterrupted run of 4",
)
def test_a_finished_run_goes_on_for_more_epochs(overrides: tuple[str, ...], command: Command, tmp_path: Path) -> None:
    straight, folder = tmp_path / "straight", tmp_path / "run"
    given = [*SMALL[:-1], *overrides] if "scheduler=" in str(overrides) else [*SMALL, *overrides]
    assert command(f"run={straight}", *given, "trainer.max_epochs=4")[0] == 0
    assert command(f"run={folder}", *given, "trainer.max_epochs=2")[0] == 0
    before = (folder / "results.json").read_bytes()
    code, printed, errors = command(f"run={folder}", "resume=true", "trainer.max_epochs=4")
    assert (code, errors) == (0, [])
    assert f"resuming {folder} in epoch 3 of 4, after {2 * STEPS} steps\n" in printed
    assert_same_run(folder, straight)
    assert results(folder)["resumed_at"] == [2 * STEPS]
    assert (folder / "earlier_results_1.json").read_bytes() == before
    tested = "test=false" not in overrides
    assert ("tested 2 times" in printed) == tested
    uses = [results(folder, name)["test_uses"] for name in ("earlier_results_1.json", "results.json")]
    assert uses == ([1, 2] if tested else [0, 0])


@pytest.fixture(scope="module")
def finished(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a finished run of two epochs, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    folder.mkdir()
    train(compose(*SMALL, "trainer.max_epochs=2", f"run={folder}"), folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Killed(BaseException):
    """Stand in for SIGKILL: nothing is written afterwards."""


@pytest.mark.parametrize("moment", ["before config.yaml", "in epoch 3", "while it is tested", "before results.json"])
@case(
    "situations",
    "a finished run resumed for more epochs and killed at any time: no results.json, resume=true completes it",
)
def test_a_kill_while_a_finished_run_goes_on_leaves_no_finished_run(
    moment: str, run: Path, command: Command, compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = tmp_path / "straight"
    straight.mkdir()
    train(compose(*SMALL, "trainer.max_epochs=4", f"run={straight}"), straight)

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    class InEpoch3(lightning.Callback):
        def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            if trainer.current_epoch == 3 and moment == "in epoch 3":
                raise Killed

    with monkeypatch.context() as patch:
        if moment == "before config.yaml":
            patch.setattr(run_folder, "write_text", kill)
        elif moment == "while it is tested":
            patch.setattr(ImageClassifier, "test_step", kill)
        elif moment == "before results.json":
            patch.setattr(run_folder, "write_report", kill)
        words = [f"run={run}", "resume=true", "trainer.max_epochs=4"]
        longer = begin_or_resume(compose(*words), run, words, False)
        assert longer
        with pytest.raises(Killed):
            train(longer, run, [InEpoch3()])
    assert not (run / "results.json").exists()
    assert not (run / "report.html").exists()
    [found] = find_runs([str(run)]).runs
    assert str(found.problem).startswith("not finished (no results.json)")
    more = (
        ["trainer.max_epochs=4"] if moment == "before config.yaml" else []
    )  # nothing records the additional epochs yet
    assert command(f"run={run}", "resume=true", *more)[0] == 0
    assert_same_run(run, straight)
    assert results(run)["test_uses"] == 2
    assert results(run, "earlier_results_1.json")["epochs"] == 2


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        pytest.param(
            ["resume=true"],
            "is finished; use resume=auto to leave it unchanged, or trainer.max_epochs=<more than 2> to train further",
            marks=case("situations", "resume=true on a finished run without more epochs: rejected, no file modified"),
        ),
        (["resume=true", "trainer.max_epochs=2"], "is finished; use resume=auto to leave it unchanged, or"),
        (["resume=true", "trainer.accelerator=cpu"], "is finished; use resume=auto"),
        pytest.param(
            ["resume=true", "trainer.max_epochs=1"],
            "resume: got trainer.max_epochs=1, but the run has 2; must be 2 or more, ",
            marks=case("situations", "fewer epochs than a finished run has: rejected, also with resume=auto"),
        ),
        (["resume=auto", "trainer.max_epochs=1"], "resume: got trainer.max_epochs=1, but the run has 2"),
    ],
)
def test_a_finished_run_that_cannot_go_on_is_refused_in_one_line(
    asked: list[str], line: str, run: Path, command: Command
) -> None:
    before = content(run)
    code, _, errors = command(f"run={run}", *asked)
    assert (code, len(errors)) == (2, 1)
    assert line in errors[0]
    assert errors[0].startswith("error: resume: ")
    assert content(run) == before


@case("situations", "resume=auto on a finished run: unchanged byte for byte, exit code 0, one line")
def test_a_finished_run_is_left_alone_by_auto(run: Path, command: Command) -> None:
    before = content(run)
    assert command(f"run={run}", "resume=auto") == (0, f"already finished: {run}\n", [])
    assert content(run) == before


def change(run: Path, **changed: Any) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | changed))


@pytest.mark.parametrize("resume", ["true", "auto"])
@pytest.mark.parametrize("name", ["cosine", "onecycle", "polynomial", "linear"])
@case("situations", "more epochs with a scheduler that depends on their number: rejected, no file modified")
def test_a_planned_schedule_is_not_made_longer(
    resume: str, name: str, run: Path, command: Command, compose: Compose
) -> None:
    change(run, scheduler=compose(f"scheduler={name}").scheduler.model_dump())
    before = content(run)
    code, _, errors = command(f"run={run}", f"resume={resume}", "trainer.max_epochs=4")
    assert code == 2
    assert errors == [
        f"error: resume: got trainer.max_epochs=4, but the run has 2, for which scheduler={name} was planned; must be "
        "unchanged, or use another folder for a new run"
    ]
    assert content(run) == before


@case(
    "situations", "more epochs for a run ended by early stopping: an error with resume=true, unchanged with resume=auto"
)
def test_early_stopping_is_not_undone_by_more_epochs(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopping = ("callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=9", "trainer.max_epochs=5")
    assert command(f"run={run}", *SMALL, *stopping)[0] == 0
    assert results(run)["epochs"] == 2
    before = content(run)
    told = "early stopping ended it, more epochs would change nothing"
    code, _, [error] = command(f"run={run}", "resume=true", "trainer.max_epochs=9")
    assert code == 2
    assert error == (
        f"error: resume: {run} is finished, {told}; use resume=auto to leave it unchanged, or another folder "
        "for a new run"
    )
    assert command(f"run={run}", "resume=auto", "trainer.max_epochs=9") == (
        0,
        f"already finished: {run}, {told}\n",
        [],
    )
    assert content(run) == before


@case(
    "situations", "more epochs for a finished run with a missing or corrupt last.ckpt: rejected, the run stays finished"
)
def test_a_finished_run_without_its_last_checkpoint_stays_finished(run: Path, command: Command) -> None:
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    before = content(run)
    code, _, errors = command(f"run={run}", "resume=auto", "trainer.max_epochs=4")
    assert (code, len(errors)) == (1, 1)
    assert "not a valid checkpoint" in errors[0]
    assert content(run) == before
    last.unlink()
    for resume in ("true", "auto"):
        code, _, [error] = command(f"run={run}", f"resume={resume}", "trainer.max_epochs=4")
        assert code == 2
        assert error.startswith(f"error: resume: {run} is finished and has no checkpoints/last.ckpt to resume from;")
    assert (run / "results.json").exists()


def test_a_run_without_training_has_no_more_epochs(command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert command(f"run={run}", *SMALL, "train=false")[0] == 0
    code, _, [error] = command(f"run={run}", "resume=true", "trainer.max_epochs=99")
    assert (code, "is finished, more epochs would change nothing" in error) == (2, True)


def test_a_run_of_before_the_test_was_counted_counts_it(run: Path, command: Command) -> None:
    old = results(run)
    del old["test_uses"], old["notes"], old["at_chance"]
    (run / "results.json").write_text(json.dumps(old))
    for epochs, uses in ((3, 2), (4, 3)):
        assert command(f"run={run}", "resume=auto", f"trainer.max_epochs={epochs}")[0] == 0
        assert results(run)["test_uses"] == uses
    assert results(run, "earlier_results_2.json")["epochs"] == 3


@pytest.mark.slow
@case(
    "situations",
    "seeds=[...] of 1 epoch, resume=true trainer.max_epochs=2: each seed identical to an uninterrupted run of 2",
)
def test_finished_seeds_go_on_for_more_epochs(command: Command, compose: Compose, tmp_path: Path) -> None:
    several, straight = tmp_path / "several", tmp_path / "straight"
    words = (*SMALL, "seeds=[0,1,2]")
    assert command(f"run={straight}", *words, "trainer.max_epochs=2")[0] == 0
    assert command(f"run={several}", *words, "trainer.max_epochs=1")[0] == 0
    code, _, [error] = command(f"run={several}", "resume=true")
    assert (code, "is finished; use resume=auto" in error) == (2, True)
    first = content(several)

    # One seed is resumed and finished, then the process is killed
    class AfterSeed0(lightning.Callback):
        def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            assert isinstance(pl_module, ImageClassifier)
            if pl_module.seed == 1:
                raise Killed

    asked = [f"run={several}", "resume=true", "trainer.max_epochs=2"]
    longer = begin_or_resume(compose(*asked), several, asked, False)
    assert longer
    with pytest.raises(Killed):
        train(longer, several, [AfterSeed0()])
    assert not (several / "results.json").exists()
    there = [(several / f"seed_{seed}" / "results.json").exists() for seed in (0, 1, 2)]
    assert there == [True, False, True]
    code, printed, errors = command(*asked)
    assert (code, errors) == (0, [])
    assert "; 1 are finished" in printed
    assert results(several)["metrics"] == pytest.approx(results(straight)["metrics"], rel=1e-4)
    assert (several / "earlier_results_1.json").read_bytes() == first["results.json"]
    for seed in (0, 1, 2):
        one = several / f"seed_{seed}"
        assert results(one)["test_uses"] == 2
        assert (one / "earlier_results_1.json").read_bytes() == first[f"seed_{seed}/results.json"]
        assert_same_run(one, straight / f"seed_{seed}")


@case("situations", "a sweep over finished runs with resume=auto: resumed with more epochs, otherwise unchanged")
def test_finished_jobs_of_a_sweep_go_on_for_more_epochs(run: Path, compose: Compose) -> None:
    for resume in ("auto", "true"):
        words = [f"run={run}", f"resume={resume}", "trainer.max_epochs=4"]
        longer = begin_or_resume(compose(*words), run, words, True)
        assert longer
        assert longer.trainer.max_epochs == 4
        assert begin_or_resume(compose(*words[:2]), run, words[:2], True) is None


@pytest.mark.parametrize(
    ("resume", "state", "code"),
    [("true", "kept", 2), ("auto", "kept", 0), ("True", "kept", 2), ("true", "finished", 0)],
)
@case(
    "situations",
    "a sweep whose jobs are all finished: one error line and exit code 2 with resume=true, exit code 0 with auto",
)
def test_a_sweep_that_had_nothing_to_do_says_so(
    resume: str, state: str, code: int, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SWEEP, "now")
    for number, one in enumerate(("kept", state)):
        place = Path(shutil.copytree(run, run.parent / "sweep" / str(number)))
        Job("now", number, [f"seed={number}", f"resume={resume}"], one).write(place)
    assert report_sweep(run.parent / "sweep") == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == (code > 0)
    assert all(
        line.startswith("error: resume: all 2 jobs in ") and line.endswith("raise trainer.max_epochs")
        for line in errors
    )


# A network that learned nothing

CHANCE = "{}: exit code 0, and a note that nothing was learned and what to try"


@pytest.mark.parametrize(
    ("overrides", "tip"),
    [
        pytest.param(
            ("model=lenet_sigmoid", "optimizer=sgd", "trainer.max_epochs=8"),
            "try optimizer=adam, a larger optimizer.lr (it is 0.05), more epochs or model.norm=batch_norm",
            marks=case("situations", CHANCE.format("model=lenet_sigmoid optimizer=sgd")),
        ),
        pytest.param(
            ("optimizer.lr=1", "trainer.max_epochs=2"),
            "try a smaller optimizer.lr (0.001 instead of 1), more epochs or model.norm=batch_norm",
            marks=case("situations", CHANCE.format("optimizer.lr=1")),
        ),
        (("model=lenet1", "optimizer.lr=1e-7", "trainer.max_epochs=1"), "a larger optimizer.lr (it is 1e-07)"),
    ],
)
def test_a_network_that_is_stuck_at_chance_says_so(
    overrides: tuple[str, ...], tip: str, command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    code, printed, errors = command(f"run={run}", *QUIET, *overrides)
    assert (code, errors) == (0, [])
    found = results(run)
    assert found["at_chance"] is True
    [note] = found["notes"]
    assert note.startswith(("learned nothing: ", "learned next to nothing: "))
    assert tip in note
    # Recomputed in plain torch from best.ckpt
    data = build_datamodule(build_settings(run))
    network = build_task(build_settings(run), data).model
    state = checkpoint(run, "best")["state_dict"]
    network.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    with torch.no_grad():
        taken = network.eval()(data.preprocess(data.validation_set.images)).argmax(1).bincount(minlength=10)
    assert f"{int(taken.max())} of 216 validation images are predicted as {int(taken.argmax())};" in note
    assert printed.splitlines()[-1] == f"note: {note}"
    assert "learned n" in (run / "report.html").read_text()


def build_settings(run: Path) -> TrainSettings:
    return TrainSettings.model_validate(yaml.safe_load((run / "config.yaml").read_text()))


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.max_epochs=1",),
        ("trainer.max_epochs=1", "trainer.limit_train_batches=1"),
        ("debug=fast_dev_run",),
        ("train=false",),
    ],
)
@case(
    "situations",
    "one epoch above chance, limit_train_batches=1, train=false, rare classes: no note about learning nothing",
)
def test_who_has_learned_or_was_not_to_is_not_told_so(
    overrides: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    code, printed, _ = command(f"run={tmp_path / 'run'}", *QUIET, *overrides)
    untrained = ["the network was not trained (train=false)"] if "train=false" in overrides else []
    assert (code, printed.count("note: ")) == (0, len(untrained))
    assert results(tmp_path / "run")["notes"] == untrained
    assert results(tmp_path / "run")["at_chance"] is False


def write_uneven(folder: Path, *, learnable: bool) -> None:
    """Write images with 3% in the second class; they are darker if `learnable`."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for part, count in (("train", 1500), ("test", 200)):
        labels = (np.arange(count) % 100 < 3).astype(np.int64)
        images = random.integers(100, 256, (count, 28, 28)).astype(np.uint8)
        images[(labels == 1) & learnable] //= 8
        np.save(folder / f"{part}_images.npy", images)
        np.save(folder / f"{part}_labels.npy", labels)


@pytest.mark.parametrize("learnable", [True, False])
def test_rare_classes_are_no_chance_where_they_are_found(learnable: bool, command: Command, tmp_path: Path) -> None:
    write_uneven(tmp_path / "data", learnable=learnable)
    words = ("data=arrays", f"data.path={tmp_path / 'data'}", "data.split.val_size=300", "optimizer.lr=0.005")
    assert command(f"run={tmp_path / 'run'}", *QUIET, *words, "trainer.max_epochs=4")[0] == 0
    found = results(tmp_path / "run")
    assert found["metrics"]["best/val/accuracy"] > 0.96  # the fraction of the frequent class, which is not informative
    assert found["at_chance"] is not learnable
    assert [note for note in found["notes"] if "try loss.class_weights=balanced" in note] == found["notes"]


def test_each_seed_at_chance_is_named(command: Command, tmp_path: Path) -> None:
    words = ("seeds=[3,5]", "optimizer.lr=1", "trainer.max_epochs=1")
    code, printed, _ = command(f"run={tmp_path / 'run'}", *QUIET, *words)
    assert code == 0
    assert [f"note: seed {seed}: learned" in printed for seed in (3, 5)] == [True, True]
    assert results(tmp_path / "run")["at_chance"] == [3, 5]
    assert sweep.describe_result(tmp_path / "run").endswith("; learned nothing with seeds [3, 5]")


# User callbacks


class Recording(lightning.Callback):
    """Record the arguments of a callback's hooks."""

    seen: list[tuple[int, int, float, float]]

    def __init__(self) -> None:
        self.seen = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        scores = [float(trainer.callback_metrics[name]) for name in ("train/loss", "val/loss")]
        self.seen.append((pl_module.seed, trainer.current_epoch, *scores))


@case("situations", "train(callbacks=...) with seeds: separate callbacks for each seed, from a list or a function")
def test_callbacks_watch_every_seed(compose: Compose, tmp_path: Path) -> None:
    made: dict[int, Recording] = {}

    def make(settings: TrainSettings) -> list[lightning.Callback]:
        made[settings.seed] = Recording()
        return [made[settings.seed]]

    settings = compose(*SMALL, "seeds=[3,5]", "trainer.max_epochs=2", "test=false")
    train(settings, tmp_path, make)
    for seed, recording in made.items():
        rows = [
            (seed, int(row["epoch"]), float(row["train/loss"]), float(row["val/loss"]))
            for row in figures(tmp_path / f"seed_{seed}")
        ]
        assert recording.seen == [pytest.approx(row, abs=1e-6) for row in rows]
    assert list(made) == [3, 5]


class Telling(Recording):
    """Print the records at the end, so that copies of the callback are visible too."""

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        print(f"seen {[row[:2] for row in self.seen]}")


def test_a_list_of_callbacks_is_copied_for_every_seed(
    compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    telling = Telling()
    train(compose(*SMALL, "seeds=[3,5]", "trainer.max_epochs=1", "test=false"), tmp_path, [telling])
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("seen")] == ["seen [(3, 0)]", "seen [(5, 0)]"]
    assert telling.seen == []


def test_callbacks_that_cannot_be_copied_are_refused(compose: Compose, tmp_path: Path) -> None:
    holding = Recording()
    holding.stream = (tmp_path / "notes.txt").open("w")  # type: ignore[attr-defined]
    with pytest.raises(SettingError, match=r"^callbacks: cannot be copied for seed 3 .*; must be a function") as error:
        train(compose(*SMALL, "seeds=[3,5]", "trainer.max_epochs=1"), tmp_path / "runs", [holding])
    holding.stream.close()  # type: ignore[attr-defined]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("ema", ["null", "0.9"])
@case("situations", 'trainer.test(ckpt_path="best") and checkpoint_callback.best_model_path: the best epoch')
def test_the_best_checkpoint_is_found_as_lightning_finds_it(ema: str, compose: Compose, tmp_path: Path) -> None:
    silence_lightning_logs()
    settings = compose(*SMALL, "trainer.max_epochs=3", f"callbacks.ema.decay={ema}")
    data = build_datamodule(settings)
    task, trainer = build_task(settings, data), build_trainer(settings, tmp_path, [Recording()])
    trainer.fit(task, data)
    assert isinstance(trainer.checkpoint_callback, ModelCheckpoint)
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")
    with torch.no_grad():
        for weights in task.parameters():
            weights.zero_()  # not the weights of the last epoch
    [scores] = trainer.test(task, data, ckpt_path="best", verbose=False)
    assert scores["test/accuracy"] > 0.2
    best = checkpoint(tmp_path, "best")["state_dict"]
    assert all(torch.equal(value, best[name]) for name, value in task.state_dict().items())


# Content of checkpoints


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (STEPS, "in epoch 2 of 3"),  # the epoch is validated first
        (STEPS + 2, "in epoch 2 of 3"),
    ],
)
def test_the_epoch_in_which_a_training_goes_on_is_named(
    step: int, line: str, compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = compose(*SMALL, "trainer.max_epochs=3")
    with pytest.raises(Interruption):
        train(settings, tmp_path, [SignalAfter(step)])
    train(settings.model_copy(update={"resume": True}), tmp_path)
    assert f"resuming {tmp_path} {line}, after {step} steps\n" in capsys.readouterr().out


@case("situations", "resumed after a complete epoch, or after the last one: the message contains the correct position")
def test_after_a_whole_epoch_the_next_one_is_named(
    compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Kill(lightning.Callback):
        def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            if trainer.current_epoch == 1:
                raise Killed

        def on_test_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            raise Killed

    settings = compose(*SMALL, "trainer.max_epochs=2", "resume=auto")
    for said in ("", "in epoch 2 of 2, after 6 steps", "after its last epoch, 2, after 12 steps"):
        with pytest.raises(Killed):
            train(settings, tmp_path, [Kill()] if not said else [KillInTest()])
        printed = capsys.readouterr().out
        assert (f"resuming {tmp_path} {said}\n" in printed) == bool(said)


class KillInTest(lightning.Callback):
    def on_test_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        raise Killed


@case("situations", "epochs whose scores differ by less than 1e-6: best_epoch is that of best.ckpt")
def test_the_best_epoch_is_that_of_the_checkpoint(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = ImageClassifier._evaluation_step

    def nearly_equal(task: ImageClassifier, *given: Any) -> torch.Tensor:
        logits = score(task, *given)
        task._evaluated[-1] = (torch.tensor(0.5 - 1e-7 * task.current_epoch), *task._evaluated[-1][1:])
        return logits

    monkeypatch.setattr(ImageClassifier, "_evaluation_step", nearly_equal)
    found = train(compose(*SMALL, "trainer.max_epochs=3", "callbacks.checkpoint.monitor=val/loss"), tmp_path)
    assert [row["val/loss"] for row in figures(tmp_path)] == ["0.5"] * 3  # rounded, the first epoch would be the best
    assert checkpoint(tmp_path, "best")["epoch"] == 2
    assert found["best_epoch"] == 3
    assert found["metrics"]["best/train/loss"] == float(figures(tmp_path)[2]["train/loss"])


def test_names_of_states_in_checkpoints_stay(finished: Path) -> None:
    """Assert that checkpoints of earlier versions can be resumed."""
    states = checkpoint(finished)["callbacks"]
    assert {key.partition("{")[0] for key in states} == {"EpochRecorder", "ResumableStopping", "BestCheckpoint"}
    assert {"epochs", "step_losses", "resumed_at", "seconds"} == states["EpochRecorder"].keys()


# Networks with other randomness than nn.Dropout


def drop_path(values: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """Drop whole images, as stochastic depth drops branches."""
    kept = (torch.rand(len(values), 1, 1, 1) > p) if training else 1.0
    return values * kept


RANDOM: dict[str, Callable[..., torch.Tensor]] = {
    "F.dropout": functional.dropout,
    "Dropout2d": functional.dropout2d,
    "AlphaDropout": functional.alpha_dropout,
    "drop-path": drop_path,
    "RReLU": lambda values, p, training: functional.rrelu(values, training=training),
}


@pytest.fixture(params=["F.dropout", *(pytest.param(name, marks=pytest.mark.slow) for name in list(RANDOM)[1:])])
def otherwise_random(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, kind = ConvNet.forward, RANDOM[request.param]
    monkeypatch.setattr(ConvNet, "forward", lambda self, images: forward(self, kind(images, 0.3, self.training)))


@pytest.mark.usefixtures("otherwise_random")
@case("situations", "Dropout2d, AlphaDropout, drop-path, F.dropout: a resumed run is bit-identical")
def test_every_kind_of_randomness_is_resumed_exactly(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, "model.dropout=0", "trainer.max_epochs=2", "test=false")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    straight.mkdir()
    stopped.mkdir()
    train(settings, straight)
    with pytest.raises(Interruption):
        train(settings, stopped, [SignalAfter(STEPS + 2)])
    torch.manual_seed(123)  # independent of earlier random numbers
    train(settings.model_copy(update={"resume": True}), stopped)
    assert difference(checkpoint(straight), checkpoint(stopped)) == []


@pytest.mark.parametrize("overrides", [(), ("seeds=[0,1]",)])
def test_random_numbers_of_callbacks_are_left_to_them(
    overrides: tuple[str, ...], compose: Compose, tmp_path: Path
) -> None:
    drawn: list[float] = []

    class Drawing(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
            drawn.append(float(torch.rand(())))

    settings = compose(*SMALL, *overrides, "trainer.max_epochs=3", "test=false")
    train(settings, tmp_path, lambda _: [Drawing()])
    seeds = settings.seeds or [0]
    assert len(drawn) == 3 * STEPS * len(seeds)
    if settings.seeds is None:
        lightning.seed_everything(settings.seed, verbose=False)
        build_task(settings, build_datamodule(settings))
        assert drawn == [float(torch.rand(())) for _ in drawn]  # not advanced by the network
    assert len(set(drawn)) == len(drawn)


# Plots and logs that fail after training


def full(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device", "disk")


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a font\nis broken")


LOST = "{} fails after training: complete results.json, one line, exit code 0"


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("place", "name", "fails", "missing"),
    [
        pytest.param(
            run_plots,
            "draw_confusion",
            broken,
            ["confusion_matrix.png"],
            marks=case("situations", LOST.format("a plot")),
        ),
        (run_plots, "draw_curves", broken, ["curves.png"]),
        (run_plots, "draw_layers", broken, ["filters.png or feature_maps.png"]),
        (run_plots, "draw_samples", broken, ["samples.png", "misclassified.png"]),
        pytest.param(
            FigureCanvasAgg,
            "print_png",
            full,
            [
                "samples.png",
                "filters.png or feature_maps.png",
                "augmentation.png",
                "curves.png",
                "confusion_matrix.png",
                "misclassified.png",
            ],
            marks=case("situations", LOST.format("every plot")),
        ),
        pytest.param(
            run_folder, "write_report", broken, ["report.html"], marks=case("situations", LOST.format("report.html"))
        ),
        pytest.param(
            SummaryWriter,
            "add_graph",
            broken,
            ["the graph in TensorBoard"],
            marks=case("situations", LOST.format("the TensorBoard graph")),
        ),
        (SummaryWriter, "add_figure", full, ["part of the output of TensorBoard"]),
        pytest.param(
            SummaryWriter,
            "add_scalar",
            full,
            ["part of the output of TensorBoard"],
            marks=case("situations", LOST.format("a logger")),
        ),
        (SummaryWriter, "flush", full, ["part of the output of TensorBoard"]),
        (chance_check, "find_guess", broken, ["whether anything was learned"]),
    ],
)
def test_what_fails_after_the_training_loses_no_result(
    place: Any,
    name: str,
    fails: Any,
    missing: list[str],
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    words = ["optimizer.lr=1"] if name == "find_guess" else []
    monkeypatch.setattr(place, name, fails)
    asked = [*SMALL, "trainer.max_epochs=1", "logger=tensorboard", *words]
    code, printed, errors = command(f"run={run}", *{word.partition("=")[0]: word for word in asked}.values())
    assert code == 0
    why = ": No space left on device" if fails is full else "RuntimeError: a font is broken"
    assert len(errors) == len(missing)
    for line, what in zip(errors, missing, strict=True):
        assert line.startswith(f"note: {what} is missing: ")
        assert line.endswith(why)
    found = results(run)
    assert found["notes"] == [line.removeprefix("note: ") for line in errors]
    assert found["metrics"].keys() >= {"test/accuracy", "best/val/accuracy"}
    assert "everything is in" in printed
    drawn = {"samples", "filters", "curves", "confusion_matrix", "misclassified"}
    assert {name for name in drawn if (run / f"{name}.png").exists()} == {
        name for name in drawn if not any(f"{name}.png" in what for what in missing)
    }
    assert command(f"run={run}", "resume=auto")[1] == f"already finished: {run}\n"


@pytest.mark.usefixtures("pictures")
@case("situations", "a signal while plots are drawn: exit code 130, the run can be resumed")
def test_a_signal_while_pictures_are_drawn_still_ends_the_command(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_plots, "draw_curves", interrupted)
        assert command(f"run={tmp_path / 'run'}", *SMALL, "trainer.max_epochs=1")[0] == 130
    assert not (tmp_path / "run" / "results.json").exists()
    assert command(f"run={tmp_path / 'run'}", "resume=true")[0] == 0
