import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Run, Work
from hydra.core.hydra_config import HydraConfig

from lenet_pl.errors import DataError, SettingError
from lenet_pl.runtime.signals import Interruption
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import known_keys

MISTAKES = {  # argument: words of the answer
    "model=lenet6": ["model=lenet6: ", "did you mean lenet5?", "lenet_bn"],
    "data=fashon": ["data=fashon: ", "did you mean fashion?", "digits"],
    "optimizer.lrr=1": ["optimizer.lrr: ", "did you mean optimizer.lr?"],
    "+optimizer.lrr=1": ["optimizer.lrr: ", "did you mean optimizer.lr?"],
    "optimizer.lr=abc": ["optimizer.lr: ", "'abc'", "number"],
    "loader.batch_size=3.7": ["loader.batch_size: ", "3.7", "integer"],
    "seed=-1": ["seed: ", "-1", "greater than or equal to 0"],
}
QUICK = 2.5  # seconds of CPU time, which other work on the machine makes longer; torch and Lightning take 6


def start(environment: dict[str, str], folder: Path, *arguments: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run the command in an empty folder; return its exit code and what it wrote to stderr."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, *options, "-m", "lenet_pl.train", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, Path]]:
    """Answers to all mistakes, asked two at a time."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = tmp_path_factory.mktemp("mistakes")
    folders = {argument: root / str(number) for number, argument in enumerate(MISTAKES)}
    with ThreadPoolExecutor(2) as pool:
        asked = {a: pool.submit(start, environment, folder, a) for a, folder in folders.items()}
    return {a: (*job.result(), folders[a]) for a, job in asked.items()}


def fail(error: BaseException) -> Work:
    def work(settings: TrainSettings, folder: Path) -> None:
        raise error

    return work


@pytest.mark.slow
@pytest.mark.parametrize("argument", MISTAKES)
def test_a_mistake_is_answered_with_one_line_and_leaves_nothing(
    argument: str, answers: dict[str, tuple[int, str, Path]]
) -> None:
    code, errors, folder = answers[argument]
    assert code == 2
    assert errors.startswith("error: " + MISTAKES[argument][0])
    assert errors.endswith("\n")
    assert errors.count("\n") == 1
    assert [word for word in MISTAKES[argument] if word not in errors] == []
    assert list(folder.glob("runs/*/*")) == []
    assert [p for p in folder.rglob("*") if p.is_file()] == []


@pytest.mark.slow
@pytest.mark.parametrize(("argument", "expected"), [("--help", 0), ("optimizer.lrr=1", 2)])
def test_help_and_mistakes_answer_at_once_without_torch(
    argument: str, expected: int, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    seconds = []
    for _ in range(3):
        before = os.times()
        code, _ = start(command_environment, tmp_path, argument)
        after = os.times()
        assert code == expected
        # processor time: what a machine that others use takes beside it is not the command's
        seconds.append(sum(after[2:4]) - sum(before[2:4]))
        if min(seconds) < QUICK:
            break
    assert min(seconds) < QUICK
    _, errors = start(command_environment, tmp_path, argument, options=("-X", "importtime"))
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in errors.splitlines()}
    assert {"hydra", "pydantic"} <= imported
    assert not imported & {"torch", "lightning", "numpy", "matplotlib", "sklearn", "torchmetrics"}


def test_help_shows_every_group_and_every_setting(tmp_path: Path, command_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "lenet_pl.train", "--help"]
    text = subprocess.run(command, cwd=tmp_path, env=command_environment, capture_output=True, text=True).stdout
    for word in ("lenet_sigmoid_avg", "fashion", "onecycle", "rmsprop", "fast_dev_run", "-m model=lenet5,lenet_bn"):
        assert word in text
    for key in known_keys("train"):
        assert f"{key.rpartition('.')[2]}:" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["modle=lenet5"], ["modle: unknown setting", "did you mean model?"]),
        (["lr=0.1"], ["lr: unknown setting", "did you mean optimizer.lr?"]),
        (["optimizer@foo=adam"], ["optimizer@foo: unknown setting"]),
        (["+trainer.accelerator=cpu"], ["already exists", "without the +"]),
        (["~optimizer.lr"], ["optimizer.lr: no value given"]),
        (["~optimizer.lrr"], ["optimizer.lrr: unknown setting", "did you mean optimizer.lr?"]),
        (["data=folder"], ["data.path: no value given"]),
        (["optimizer.lr=${foo}"], ["foo"]),
        (["data=digits,fake"], ["--multirun"]),
        (["foo"], ["foo"]),
        (["model.kernel_size=4", "model.padding=same"], ["odd", "4"]),
        (["optimizer.lr=nan"], ["optimizer.lr: got nan"]),
        (["experiment=mnist"], ["no such experiment", "lenet5_mnist"]),
        (["experiment=leaderboard/fasion"], ["error: experiment=leaderboard/fasion: no", "mean leaderboard/fashion?"]),
        (["experiment=leaderbord/mnist"], ["experiment=leaderbord/mnist: no", "did you mean leaderboard/mnist?"]),
        (["hydra/launcher=jobli"], ["hydra/launcher=jobli: no such hydra/launcher", "joblib"]),
        (["optimizer=null"], ["optimizer"]),
        (["model=[lenet5,lenet7]"], ["lenet7"]),
        (["--config-name=foo"], ["foo"]),
        (["--foo"], ["--foo"]),
        (["run="], ["run: "]),
    ],
)
def test_other_mistakes_take_one_line_too(arguments: list[str], words: list[str], run: Run) -> None:
    code, errors = run(*arguments)
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert "unexpected" not in errors[0]
    assert "must be a folder that can be written" not in errors[0]
    assert [word for word in words if word not in errors[0]] == []
    assert code == 2


def test_the_work_gets_checked_settings_and_a_folder(run: Run, tmp_path: Path) -> None:
    seen = []
    work: Work = lambda settings, folder: seen.append((settings.seed, folder, folder.is_dir()))  # noqa: E731
    assert run("seed=7", f"run={tmp_path / 'new' / 'run'}", work=work) == (0, [])
    assert seen == [(7, tmp_path / "new" / "run", True)]


def test_a_run_is_named_after_the_time(run: Run, tmp_path: Path) -> None:
    folders: list[Path] = []
    for _ in range(2):
        run(work=lambda settings, folder: folders.append(folder))
    assert folders[0] != folders[1]
    assert {f.parent for f in folders} == {tmp_path / "cwd" / "runs" / "train"}


@pytest.mark.parametrize("below", ["", "/run"])
def test_a_file_in_place_of_the_run_folder_is_named(below: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    code, errors = run(f"run={tmp_path / 'taken'}{below}")
    assert code == 1
    assert len(errors) == 1
    assert errors[0].startswith(f"error: run: {tmp_path / 'taken'}")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_used_run_folder_is_refused_and_untouched(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 3\n")
    code, errors = run(f"run={folder}", work=fail(AssertionError("work was begun")))
    assert code == 2
    assert len(errors) == 1
    assert errors[0].startswith(f"error: run: {folder} already contains a run")
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"config.yaml": "seed: 3\n"}


def test_a_setting_that_proves_wrong_later_leaves_no_empty_folder(run: Run, tmp_path: Path) -> None:
    assert run(f"run={tmp_path / 'new'}", work=fail(SettingError("a: b"))) == (2, ["error: a: b"])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("x.gz: damaged"), 1, "error: x.gz: damaged"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "error: /x/y: Permission denied"),
        (OSError(28, "No space left on device"), 1, "error: No space left on device"),
        (
            RuntimeError("one\n  two"),
            1,
            "error: unexpected RuntimeError: one two; use traceback=true to see where it was raised",
        ),
        (MemoryError(), 1, "error: unexpected MemoryError: no message; use traceback=true to see where it was raised"),
        (KeyboardInterrupt(), 130, "error: interrupted; train is not finished"),
        (Interruption(1), 129, "error: interrupted; train is not finished"),
    ],
)
def test_what_goes_wrong_in_the_work_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, run: Run
) -> None:
    assert run(work=fail(error)) == (code, [line])


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (Interruption(1), 129)])
def test_an_interrupted_run_that_has_written_something_can_be_continued(
    error: BaseException, code: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(settings: TrainSettings, folder: Path) -> None:
        (folder / "config.yaml").touch()
        raise error

    line = "error: interrupted; train is not finished; use run=here/first resume=true to resume"
    assert run("run=here/first", work=work) == (code, [line])
    quoted = "error: interrupted; train is not finished; use \"run='here (2)'\" resume=true to resume"
    assert run("run='here (2)'", work=work) == (code, [quoted])
    monkeypatch.setattr("lenet_pl.cli.error_report.given_plugins", lambda: ["mine", "my.models"])
    assert run("run=here/third", work=work)[1][0].endswith(
        "use plugins=[mine,my.models] run=here/third resume=true to resume"
    )


def test_a_command_takes_the_run_folder_or_not(run: Run) -> None:
    received: list[tuple[object, ...]] = []

    def settings_alone(settings: TrainSettings) -> None:
        received.append((settings.seed,))

    def with_folder(settings: TrainSettings, folder: Path | None = None) -> None:
        received.append((settings.seed, folder and folder.is_dir()))

    for work in (settings_alone, with_folder):
        assert run("seed=3", work=work) == (0, [])
    assert received == [(3,), (3, True)]


def test_a_traceback_can_be_asked_for(run: Run) -> None:
    code, errors = run("traceback=true", work=fail(RuntimeError("boom")))
    assert code == 1
    assert errors[0].startswith("Traceback")
    assert any("in work" in line for line in errors)
    assert errors[-1].startswith("error: unexpected RuntimeError: boom")


def test_a_part_that_a_group_does_not_have_is_named(run: Run) -> None:
    unknown = "error: model.channels: not a setting of the chosen model; use model=lenet5"
    assert run("model=lenet1", "model.channels=[[6]]") == (2, [unknown])
    inside = "loader.batch_size, loader.eval_batch_size, loader.shuffle, loader.drop_last"
    assert run("loader={nokey:1}") == (2, [f"error: loader.nokey: unknown setting; must be one of {inside}"])


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("model=glob(lenet_a*)", ["lenet_avg_dropout"]),
        ("model=glob([lenet_s*,cnn*],exclude=*_avg)", ["cnn3_bn", "cnn5_bn", "cnn_plain", "lenet_sigmoid"]),
        ("experiment=glob(leaderboard/f*)", ["lenet5_bn"]),
    ],
)
def test_a_glob_stands_for_choices_in_folders_too(run: Run, tmp_path: Path, argument: str, names: list[str]) -> None:
    seen: list[str] = []

    def work(settings: TrainSettings, folder: Path) -> None:
        seen.append(settings.model.name)

    assert run("-m", argument, f"run={tmp_path / 'sweep'}", work=work) == (0, [])
    assert seen == names


def test_a_glob_that_no_choice_matches_is_refused(run: Run) -> None:
    code, (line,) = run("-m", "model=glob(resnet*)")
    assert code == 2
    assert line.startswith(
        "error: model: got glob(resnet*); must be one of cnn3_bn, cnn5_bn, cnn_plain, lenet1, lenet5, "
    )


def test_a_sweep_goes_on_after_a_bad_job_and_ends_with_its_code(run: Run, tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def work(settings: TrainSettings, folder: Path) -> None:
        seen.append((settings.seed, folder.name))
        if settings.seed == 1:
            raise DataError("x: damaged")

    code, errors = run("-m", "seed=0,-1,1,2", f"run={tmp_path / 'sweep'}", work=work)
    assert seen == [(0, "0"), (1, "2"), (2, "3")]
    assert code == 2
    assert [line.split(" (")[0] for line in errors] == ["error: job 1", "error: job 2"]
    assert ["seed: got -1" in errors[0], errors[1].endswith("x: damaged")] == [True, True]
    assert not (tmp_path / "sweep" / "1").exists()


@pytest.mark.slow
def test_a_sweep_of_real_runs_goes_on_after_a_bad_job(tmp_path: Path, command_environment: dict[str, str]) -> None:
    arguments = [
        "-m",
        "seed=-1,0",
        "trainer.max_epochs=1",
        "debug=fast_dev_run",
        "data=fake",
        "logger=none",
        "run=sweep",
    ]
    code, errors = start(command_environment, tmp_path, *arguments)
    assert code == 2
    assert [line for line in errors.splitlines() if line] == [
        "error: job 0 (seed=-1 trainer.max_epochs=1 debug=fast_dev_run data=fake logger=none run=sweep): "
        "seed: got -1; must be greater than or equal to 0",
        "error: 1 of 2 jobs have no result",
    ]
    assert [p.name for p in (tmp_path / "sweep" / "0").iterdir()] == ["job.json"]
    assert json.loads((tmp_path / "sweep" / "1" / "results.json").read_text())["seed"] == 0


def test_an_interrupted_run_never_counts_as_done(run: Run) -> None:
    code, lines = run(work=fail(KeyboardInterrupt()))
    assert (code, len(lines)) == (130, 1)
    assert lines[0].startswith("error: interrupted")


def test_a_signal_that_lightning_turned_into_an_exit_has_the_code_of_shells(run: Run) -> None:
    def interrupted(settings: TrainSettings, folder: Path) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    assert run(work=interrupted)[0] == 130
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    code, lines = run(work=fail(SIGTERMException()))
    assert (code, len(lines)) == (143, 1)


def test_another_exit_is_passed_on(run: Run) -> None:
    assert run(work=fail(SystemExit(7)))[0] == 7


def test_a_run_that_fails_before_it_writes_leaves_no_folder(run: Run) -> None:
    assert run(work=fail(DataError("x: damaged")))[0] == 1
    assert list(Path().iterdir()) == []


def test_a_folder_that_holds_anything_is_refused_and_untouched(run: Run) -> None:
    Path("mine").mkdir()
    Path("mine/curves.png").write_text("my own")
    code, lines = run("run=mine")
    assert (code, len(lines)) == (2, 1)
    assert "mine is not empty" in lines[0]
    assert Path("mine/curves.png").read_text() == "my own"
    assert run("run=.")[0] == 2


@pytest.mark.parametrize("group", ["debug", "experiment"])
def test_the_default_of_a_group_without_choice_can_be_written_out(group: str, run: Run) -> None:
    assert run(f"{group}=null") == (0, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data=mnist", "-m", "seed=0,1"], "must come before all settings"),
        (["=3"], "got no key"),
        (["data=folder", "data.path=a b (1)"], "\"data.path='a b (1)'\""),
        (["--config-path=."], "--config-path"),
    ],
)
def test_command_lines_that_hydra_answers_at_length_take_one_line(arguments: list[str], words: str, run: Run) -> None:
    code, lines = run(*arguments)
    assert (code, len(lines)) == (2, 1)
    assert words in lines[0]


def test_a_command_leaves_no_overrides_to_later_calls_from_python(run: Run, tmp_path: Path) -> None:
    assert run(f"run={tmp_path / 'a'}", "optimizer.lr=0.01", work=lambda settings, folder: None) == (0, [])
    assert not HydraConfig.initialized()
