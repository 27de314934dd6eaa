"""What users do with trainings, and what goes wrong around them: nothing is lost, nothing is silently left out."""

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
from conftest import Compose
from lightning.pytorch.callbacks import ModelCheckpoint
from matplotlib.figure import Figure
from promise import case
from test_resume import SignalAfter
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter
from whole_checkpoint import checkpoint, difference

from lenet_pl import artefacts, run_pictures, sweep
from lenet_pl.build import build_datamodule, build_task
from lenet_pl.command import run_command
from lenet_pl.comparison.run_index import find_runs
from lenet_pl.errors import SettingError
from lenet_pl.interruption import Interruption
from lenet_pl.model.convnet import ConvNet
from lenet_pl.resume import begin_or_resume
from lenet_pl.seeds.choice import choose
from lenet_pl.settings import TrainSettings
from lenet_pl.sweep import SWEEP, Job, close_sweep
from lenet_pl.task import ImageClassifier
from lenet_pl.train import train
from lenet_pl.trainer import build_trainer, quiet_lightning

QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "trainer.precision=32-true",
    "logger=none",
)
STEPS = 6  # of an epoch
SMALL = (
    *QUIET,
    "model.channels=[[2],[4]]",
    "model.hidden=[8]",
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
    """Have pictures drawn, which take longer than these trainings."""


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(artefacts, "pictures_of", lambda *_: {})


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `python -m lenet_pl.train` in this process; gives exit code, what was printed, and the lines of errors."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(run_pictures, "SAMPLES", 1)  # drawing would take longer than training

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
    """Whole checkpoints, figures and results are those of the run that was not continued."""
    assert difference(checkpoint(straight), checkpoint(folder)) == []
    # A best epoch of before was written by a run that was to be shorter
    assert set(difference(checkpoint(straight, "best"), checkpoint(folder, "best"))) <= {
        "/hyper_parameters/settings/trainer/max_epochs"
    }
    assert figures(folder) == figures(straight)
    for key in ("metrics", "per_class_accuracy", "epochs", "best_epoch", "lr_changes", "stopped_early", "images"):
        assert results(folder)[key] == results(straight)[key], key


# Continuing a finished run


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("callbacks.early_stopping.patience=3",), id="plateau, early stopping"),
        pytest.param(
            ("scheduler=step", "scheduler.step_size=1", "scheduler.gamma=0.5"), id="step", marks=pytest.mark.slow
        ),
        pytest.param(
            ("scheduler=none", "optimizer=sgd", "trainer.ema_decay=0.9"), id="averaged weights", marks=pytest.mark.slow
        ),
        pytest.param(
            ("callbacks.checkpoint.monitor=train/loss", "test=false"), id="not tested", marks=pytest.mark.slow
        ),
    ],
)
@case("situations", "a finished run of 2 epochs, resume=true trainer.max_epochs=4: bit for bit as 4 epochs straight")
def test_a_finished_run_goes_on_for_more_epochs(overrides: tuple[str, ...], command: Command, tmp_path: Path) -> None:
    straight, folder = tmp_path / "straight", tmp_path / "run"
    given = [*SMALL[:-1], *overrides] if "scheduler=" in str(overrides) else [*SMALL, *overrides]
    assert command(f"run={straight}", *given, "trainer.max_epochs=4")[0] == 0
    assert command(f"run={folder}", *given, "trainer.max_epochs=2")[0] == 0
    before = (folder / "results.json").read_bytes()
    code, printed, errors = command(f"run={folder}", "resume=true", "trainer.max_epochs=4")
    assert (code, errors) == (0, [])
    assert f"continues {folder} in epoch 3 of 4, after {2 * STEPS} steps\n" in printed
    assert_same_run(folder, straight)
    assert results(folder)["resumed_at"] == [2 * STEPS]
    assert (folder / "earlier_results_1.json").read_bytes() == before
    tested = "test=false" not in overrides
    assert ("tested 2 times" in printed) == tested
    uses = [results(folder, name)["test_uses"] for name in ("earlier_results_1.json", "results.json")]
    assert uses == ([1, 2] if tested else [0, 0])


@pytest.fixture(scope="module")
def finished(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of two epochs, to be copied."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    folder.mkdir()
    train(compose(*SMALL, "trainer.max_epochs=2", f"run={folder}"), folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Killed(BaseException):
    """Ends a process as SIGKILL does: nothing is written any more."""


@pytest.mark.parametrize("moment", ["before config.yaml", "in epoch 3", "while it is tested", "before results.json"])
@case("situations", "a finished run that goes on, killed at any moment: no results.json, resume=true ends as planned")
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
            patch.setattr(artefacts, "write_text", kill)
        elif moment == "while it is tested":
            patch.setattr(ImageClassifier, "test_step", kill)
        elif moment == "before results.json":
            patch.setattr(artefacts, "write_report", kill)
        words = [f"run={run}", "resume=true", "trainer.max_epochs=4"]
        longer = begin_or_resume(compose(*words), run, words, False)
        assert longer
        with pytest.raises(Killed):
            train(longer, run, [InEpoch3()])
    assert not (run / "results.json").exists()
    assert not (run / "report.html").exists()
    [found] = find_runs([str(run)]).runs
    assert str(found.problem).startswith("not finished (no results.json)")
    more = ["trainer.max_epochs=4"] if moment == "before config.yaml" else []  # nothing says yet that there is more
    assert command(f"run={run}", "resume=true", *more)[0] == 0
    assert_same_run(run, straight)
    assert results(run)["test_uses"] == 2
    assert results(run, "earlier_results_1.json")["epochs"] == 2


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        pytest.param(
            ["resume=true"],
            "is finished; accepted is resume=auto to leave it as it is, or trainer.max_epochs=<more than 2> to train "
            "further",
            marks=case("situations", "resume=true of a finished run without more epochs: refused, nothing is touched"),
        ),
        (["resume=true", "trainer.max_epochs=2"], "is finished; accepted is resume=auto to leave it as it is, or"),
        (["resume=true", "trainer.accelerator=cpu"], "is finished; accepted is resume=auto"),
        pytest.param(
            ["resume=true", "trainer.max_epochs=1"],
            "trainer.max_epochs=1 is asked for and the run has 2; accepted is the run's own",
            marks=case("situations", "fewer epochs than a finished run has: refused, with resume=auto too"),
        ),
        (["resume=auto", "trainer.max_epochs=1"], "trainer.max_epochs=1 is asked for and the run has 2"),
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


@case("situations", "resume=auto of a finished run: left as it is byte for byte, exit code 0, one line")
def test_a_finished_run_is_left_alone_by_auto(run: Path, command: Command) -> None:
    before = content(run)
    assert command(f"run={run}", "resume=auto") == (0, f"finished already: {run}\n", [])
    assert content(run) == before


def change(run: Path, **changed: Any) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | changed))


@pytest.mark.parametrize("resume", ["true", "auto"])
@pytest.mark.parametrize("scheduler", [{"name": "cosine", "final_lr": 0.0}, "onecycle"])
@case("situations", "more epochs where the lr was planned for a number of them: refused, nothing is touched")
def test_a_planned_schedule_is_not_made_longer(
    resume: str, scheduler: Any, run: Path, command: Command, compose: Compose
) -> None:
    if scheduler == "onecycle":
        scheduler = compose("scheduler=onecycle").scheduler.model_dump()
    change(run, scheduler=scheduler)
    before = content(run)
    code, _, errors = command(f"run={run}", f"resume={resume}", "trainer.max_epochs=4")
    name = scheduler["name"]
    assert code == 2
    assert errors == [
        f"error: resume: trainer.max_epochs=4 is asked for and the run has 2; scheduler={name} was planned for that "
        "many; accepted is the run's own, or another folder for a new run"
    ]
    assert content(run) == before


@case("situations", "more epochs for a run that early stopping has ended: resume=true says so, resume=auto leaves it")
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
        f"error: resume: {run} is finished, {told}; accepted is resume=auto to leave it as it is, or another folder "
        "for a new run"
    )
    assert command(f"run={run}", "resume=auto", "trainer.max_epochs=9") == (
        0,
        f"finished already: {run}, {told}\n",
        [],
    )
    assert content(run) == before


@case("situations", "more epochs for a finished run whose last.ckpt is gone or damaged: refused, it stays finished")
def test_a_finished_run_without_its_last_checkpoint_stays_finished(run: Path, command: Command) -> None:
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    before = content(run)
    code, _, errors = command(f"run={run}", "resume=auto", "trainer.max_epochs=4")
    assert (code, len(errors)) == (1, 1)
    assert "not a checkpoint that can be trusted" in errors[0]
    assert content(run) == before
    last.unlink()
    for resume in ("true", "auto"):
        code, _, [error] = command(f"run={run}", f"resume={resume}", "trainer.max_epochs=4")
        assert code == 2
        assert error.startswith(f"error: resume: {run} is finished and has no checkpoints/last.ckpt to go on from;")
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
@pytest.mark.parametrize("vectorise", ["false", "true"])
@case("situations", "seeds=[...] of 1 epoch, resume=true trainer.max_epochs=2: each seed as 2 epochs straight")
def test_finished_seeds_go_on_for_more_epochs(
    vectorise: str, command: Command, compose: Compose, tmp_path: Path
) -> None:
    several, straight = tmp_path / "several", tmp_path / "straight"
    words = (*SMALL, "seeds=[0,1,2]", f"vectorise={vectorise}")
    assert command(f"run={straight}", *words, "trainer.max_epochs=2")[0] == 0
    assert command(f"run={several}", *words, "trainer.max_epochs=1")[0] == 0
    code, _, [error] = command(f"run={several}", "resume=true")
    assert (code, "is finished; accepted is resume=auto" in error) == (2, True)
    first = content(several)

    # One seed goes on and is finished, then the process is killed
    class AfterSeed0(lightning.Callback):
        def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            assert isinstance(pl_module, ImageClassifier)
            if pl_module.seed == 1:
                raise Killed

    asked = [f"run={several}", "resume=true", "trainer.max_epochs=2", f"vectorise={vectorise}"]
    if vectorise == "false":
        longer = begin_or_resume(compose(*asked), several, asked, False)
        assert longer
        with pytest.raises(Killed):
            train(longer, several, [AfterSeed0()])
        assert not (several / "results.json").exists()
        there = [(several / f"seed_{seed}" / "results.json").exists() for seed in (0, 1, 2)]
        assert there == [True, False, True]
    code, printed, errors = command(*asked)
    assert (code, errors) == (0, [])
    assert ("; 1 are finished" in printed) == (vectorise == "false")
    assert results(several)["metrics"] == pytest.approx(results(straight)["metrics"], rel=1e-4)
    assert (several / "earlier_results_1.json").read_bytes() == first["results.json"]
    for seed in (0, 1, 2):
        one = several / f"seed_{seed}"
        assert results(one)["test_uses"] == 2
        assert (one / "earlier_results_1.json").read_bytes() == first[f"seed_{seed}/results.json"]
        if vectorise == "false":
            assert_same_run(one, straight / f"seed_{seed}")


@case("situations", "a sweep over finished runs with resume=auto and more epochs: its jobs go on; without: kept")
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
@case("situations", "resume=true of a sweep of which every job is finished: a line and exit code 2, with auto 0")
def test_a_sweep_that_had_nothing_to_do_says_so(
    resume: str, state: str, code: int, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SWEEP, "now")
    for number, one in enumerate(("kept", state)):
        place = Path(shutil.copytree(run, run.parent / "sweep" / str(number)))
        Job("now", number, [f"seed={number}", f"resume={resume}"], one).write(place)
    assert close_sweep(run.parent / "sweep") == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == (code > 0)
    assert all(
        line.startswith("error: resume: all 2 jobs in ") and line.endswith("more trainer.max_epochs") for line in errors
    )


# A network that learned nothing

CHANCE = "{}: exit code 0, and a line that it has learned nothing and what to try"


@pytest.mark.parametrize(
    ("overrides", "tip"),
    [
        pytest.param(
            ("model=lenet_sigmoid", "optimizer=sgd", "trainer.max_epochs=8"),
            "try optimizer=adam, a larger optimizer.lr (it is 0.05), more epochs or model.norm=batch",
            marks=case("situations", CHANCE.format("model=lenet_sigmoid optimizer=sgd")),
        ),
        pytest.param(
            ("optimizer.lr=1", "trainer.max_epochs=2"),
            "try a smaller optimizer.lr (0.001 instead of 1), more epochs or model.norm=batch",
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
    # Counted again by plain torch from best.ckpt
    data = build_datamodule(build_settings(run))
    network = build_task(build_settings(run), data).model
    state = checkpoint(run, "best")["state_dict"]
    network.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    with torch.no_grad():
        taken = network.eval()(data.to_input(data.validation_set.images)).argmax(1).bincount(minlength=10)
    assert f"{int(taken.max())} of 216 validation images are taken for {int(taken.argmax())};" in note
    assert printed.splitlines()[-1] == f"note: {note}"
    assert "learned n" in (run / "report.html").read_text()


def build_settings(run: Path) -> TrainSettings:
    return TrainSettings.model_validate(yaml.safe_load((run / "config.yaml").read_text()))


@pytest.mark.parametrize(
    "overrides",
    [
        ("trainer.max_epochs=1",),
        ("trainer.max_epochs=1", "trainer.limit_train_batches=1"),
        ("debug=one_batch",),
        ("train=false",),
    ],
)
@case("situations", "one epoch above chance, limit_train_batches=1, train=false, rare classes: no such line")
def test_who_has_learned_or_was_not_to_is_not_told_so(
    overrides: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    code, printed, _ = command(f"run={tmp_path / 'run'}", *QUIET, *overrides)
    untrained = ["the network was not trained, as train=false says"] if "train=false" in overrides else []
    assert (code, printed.count("note: ")) == (0, len(untrained))
    assert results(tmp_path / "run")["notes"] == untrained
    assert results(tmp_path / "run")["at_chance"] is False


def write_uneven(folder: Path, *, learnable: bool) -> None:
    """Write images of which 3 in 100 are of the second class; dark ones, if that can be learned."""
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
    words = ("data=arrays", f"data.path={tmp_path / 'data'}", "data.split.validation=300", "optimizer.lr=0.005")
    assert command(f"run={tmp_path / 'run'}", *QUIET, *words, "trainer.max_epochs=4")[0] == 0
    found = results(tmp_path / "run")
    assert found["metrics"]["best/val/accuracy"] > 0.96  # the share of the frequent class: no figure to go by
    assert found["at_chance"] is not learnable
    assert [note for note in found["notes"] if "try loss.class_weights=balanced" in note] == found["notes"]


@pytest.mark.parametrize("vectorise", ["true", "false"])
def test_each_seed_at_chance_is_named(vectorise: str, command: Command, tmp_path: Path) -> None:
    words = ("seeds=[3,5]", "optimizer.lr=1", "trainer.max_epochs=1", f"vectorise={vectorise}")
    code, printed, _ = command(f"run={tmp_path / 'run'}", *QUIET, *words)
    assert code == 0
    assert [f"note: seed {seed}: learned" in printed for seed in (3, 5)] == [True, True]
    assert results(tmp_path / "run")["at_chance"] == [3, 5]
    assert sweep._result(tmp_path / "run").endswith("; learned nothing with seeds [3, 5]")


# Callbacks of the user's own


class Recording(lightning.Callback):
    """Note what Lightning shows a callback."""

    seen: list[tuple[int, int, float, float]]

    def __init__(self) -> None:
        self.seen = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        scores = [float(trainer.callback_metrics[name]) for name in ("train/loss", "val/loss")]
        self.seen.append((pl_module.seed, trainer.current_epoch, *scores))


@pytest.mark.parametrize("vectorise", ["true", "false"])
@case("situations", "train(callbacks=...) with seeds: each seed has callbacks of its own, from a list or a function")
def test_callbacks_watch_every_seed(vectorise: str, compose: Compose, tmp_path: Path) -> None:
    made: dict[int, Recording] = {}

    def make(settings: TrainSettings) -> list[lightning.Callback]:
        made[settings.seed] = Recording()
        return [made[settings.seed]]

    settings = compose(*SMALL, "seeds=[3,5]", f"vectorise={vectorise}", "trainer.max_epochs=2", "test=false")
    train(settings, tmp_path, make)
    for seed, recording in made.items():
        rows = [
            (seed, int(row["epoch"]), float(row["train/loss"]), float(row["val/loss"]))
            for row in figures(tmp_path / f"seed_{seed}")
        ]
        assert recording.seen == [pytest.approx(row, abs=1e-6) for row in rows]
    assert list(made) == [3, 5]


class Telling(Recording):
    """Say at the end what it noted, so that a copy of it is heard of too."""

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        print(f"seen {[row[:2] for row in self.seen]}")


def test_a_list_of_callbacks_is_copied_for_every_seed(
    compose: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    telling = Telling()
    train(compose(*SMALL, "seeds=[3,5]", "vectorise=false", "trainer.max_epochs=1", "test=false"), tmp_path, [telling])
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
    quiet_lightning()
    settings = compose(*SMALL, "trainer.max_epochs=3", f"trainer.ema_decay={ema}")
    data = build_datamodule(settings)
    task, trainer = build_task(settings, data), build_trainer(settings, tmp_path, [Recording()])
    trainer.fit(task, data)
    assert isinstance(trainer.checkpoint_callback, ModelCheckpoint)
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")
    with torch.no_grad():
        for weights in task.parameters():
            weights.zero_()  # the last epoch's are not what is tested
    [scores] = trainer.test(task, data, ckpt_path="best", verbose=False)
    assert scores["test/accuracy"] > 0.2
    best = checkpoint(tmp_path, "best")["state_dict"]
    assert all(torch.equal(value, best[name]) for name, value in task.state_dict().items())


# What a checkpoint says


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (STEPS, "in epoch 1 of 3"),  # the signal comes before the epoch is scored
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
    assert f"continues {tmp_path} {line}, after {step} steps\n" in capsys.readouterr().out


@case("situations", "resumed after a whole epoch, or after the last one: the message names where it goes on")
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
        assert (f"continues {tmp_path} {said}\n" in printed) == bool(said)


class KillInTest(lightning.Callback):
    def on_test_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        raise Killed


@case("situations", "epochs whose scores differ by less than 1e-6: best_epoch is that of best.ckpt")
def test_the_best_epoch_is_that_of_the_checkpoint(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = ImageClassifier._evaluation_step

    def nearly_equal(task: ImageClassifier, batch: Any) -> torch.Tensor:
        logits = score(task, batch)
        task._evaluated[-1] = (torch.tensor(0.5 - 1e-7 * task.current_epoch), *task._evaluated[-1][1:])
        return logits

    monkeypatch.setattr(ImageClassifier, "_evaluation_step", nearly_equal)
    found = train(compose(*SMALL, "trainer.max_epochs=3", "callbacks.checkpoint.monitor=val/loss"), tmp_path)
    assert [row["val/loss"] for row in figures(tmp_path)] == ["0.5"] * 3  # by which the first one would be the best
    assert checkpoint(tmp_path, "best")["epoch"] == 2
    assert found["best_epoch"] == 3
    assert found["metrics"]["best/train/loss"] == float(figures(tmp_path)[2]["train/loss"])


def test_names_of_states_in_checkpoints_stay(finished: Path) -> None:
    """Runs that earlier versions began are continued by them."""
    states = checkpoint(finished)["callbacks"]
    assert {key.partition("{")[0] for key in states} == {"EpochRecorder", "ResumableStopping", "BestCheckpoint"}
    assert {"epochs", "step_losses", "resumed_at", "seconds"} == states["EpochRecorder"].keys()


# Networks that are random in other ways than nn.Dropout


def drop_path(values: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """Leave out whole images, as stochastic depth does with the branches of a network."""
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
@case("situations", "Dropout2d, AlphaDropout, drop-path, F.dropout: a resumed run is exact, with the bits of its seed")
def test_every_kind_of_randomness_is_resumed_exactly(compose: Compose, tmp_path: Path) -> None:
    settings = compose(*SMALL, "model.dropout=0", "trainer.max_epochs=2", "test=false")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    straight.mkdir()
    stopped.mkdir()
    train(settings, straight)
    with pytest.raises(Interruption):
        train(settings, stopped, [SignalAfter(STEPS + 2)])
    torch.manual_seed(123)  # whatever was drawn before
    train(settings.model_copy(update={"resume": True}), stopped)
    assert difference(checkpoint(straight), checkpoint(stopped)) == []


@pytest.mark.usefixtures("otherwise_random")
@case("situations", "seeds=[...] of a network that is random in other ways than nn.Dropout: one after another, and why")
def test_other_randomness_is_not_vectorized(compose: Compose) -> None:
    settings = compose(*SMALL, "seeds=[0,1]")
    data = build_datamodule(settings)
    before = torch.get_rng_state()
    reason = "lenet5 draws random numbers for more than nn.Dropout"
    assert choose(settings, data, 2).why == f"one after another, as {reason}"
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(SettingError, match=rf"^vectorise: got true, and {reason}; accepted is false or auto"):
        choose(settings.model_copy(update={"vectorise": True}), data, 2)


@pytest.mark.parametrize("overrides", [(), ("seeds=[0,1]", "vectorise=true")])
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
    assert len(drawn) == 3 * len(seeds)  # Lightning's step takes all of an epoch
    if settings.seeds is None:
        lightning.seed_everything(settings.seed, verbose=False)
        build_task(settings, build_datamodule(settings))
        assert drawn == [float(torch.rand(())) for _ in drawn]  # as if no network had drawn between
    assert len(set(drawn)) == len(drawn)


# Pictures and logs that fail after the training


def full(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device", "disk")


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a font\nis broken")


LOST = "{} fails after the training: results.json with all figures, one line, exit code 0"


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("place", "name", "fails", "missing"),
    [
        pytest.param(
            run_pictures,
            "draw_confusion",
            broken,
            ["confusion_matrix.png"],
            marks=case("situations", LOST.format("a picture")),
        ),
        (run_pictures, "draw_curves", broken, ["curves.png"]),
        (run_pictures, "draw_layers", broken, ["filters.png or feature_maps.png"]),
        (run_pictures, "draw_samples", broken, ["samples.png", "misclassified.png"]),
        pytest.param(
            Figure,
            "savefig",
            full,
            [
                "samples.png",
                "filters.png or feature_maps.png",
                "curves.png",
                "confusion_matrix.png",
                "misclassified.png",
            ],
            marks=case("situations", LOST.format("every picture")),
        ),
        pytest.param(
            artefacts, "write_report", broken, ["report.html"], marks=case("situations", LOST.format("report.html"))
        ),
        pytest.param(
            SummaryWriter,
            "add_graph",
            broken,
            ["the graph in TensorBoard"],
            marks=case("situations", LOST.format("the graph")),
        ),
        (SummaryWriter, "add_figure", full, ["part of what the RunBoard writes"]),
        pytest.param(
            SummaryWriter,
            "add_scalar",
            full,
            ["part of what the RunBoard writes"],
            marks=case("situations", LOST.format("a logger")),
        ),
        (SummaryWriter, "flush", full, ["part of what the RunBoard writes"]),
        (artefacts, "find_guess", broken, ["whether anything was learned"]),
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
    assert command(f"run={run}", "resume=auto")[1] == f"finished already: {run}\n"


@pytest.mark.usefixtures("pictures")
@case("situations", "a signal while pictures are drawn: exit code 130, the run can be continued")
def test_a_signal_while_pictures_are_drawn_still_ends_the_command(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_pictures, "draw_curves", interrupted)
        assert command(f"run={tmp_path / 'run'}", *SMALL, "trainer.max_epochs=1")[0] == 130
    assert not (tmp_path / "run" / "results.json").exists()
    assert command(f"run={tmp_path / 'run'}", "resume=true")[0] == 0
