"""Every command line is executed or rejected, and the error line says what to write instead."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import KINDS, NEEDED
from conftest import Run, Work
from forked_command import run_forked
from promise import case

import lenet_pl
from lenet_pl.config_files.groups import choices_of, groups_of
from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings, setting_keys, validate
from lenet_pl.settings.compose import conf_dir, known_keys
from lenet_pl.settings.synonyms import OF_COMMAND, known_elsewhere
from lenet_pl.settings.types import expand_home
from lenet_pl.train.resume import begin_or_resume

SHORT = ("data=fake", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "logger=none", "trainer.accelerator=cpu")
QUIET = ("callbacks.progress_bar=false", "callbacks.model_summary=false")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path, command_environment: dict[str, str]) -> Command:
    """Run a command in a subprocess and in an empty folder."""

    def _command(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        outlet = {"stdout": subprocess.PIPE} | options
        environment = {name: value for name, value in command_environment.items() if name != "PYTHONUNBUFFERED"}
        (tmp_path / "cwd").mkdir(exist_ok=True)
        if words[:2] == ("-m", "lenet_pl.train") and not options:
            return run_forked(*words[1:], cwd=tmp_path / "cwd", env=environment)
        return subprocess.run(
            [sys.executable, *words],
            cwd=tmp_path / "cwd",
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            timeout=200,
            **outlet,
        )

    return _command


# The home directory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@case("situations", "run='~/r': the run folder is in the home directory, and no folder named ~ is created")
@pytest.mark.parametrize("sweep", [False, True], ids=["one run", "sweep"])
def test_a_run_folder_may_be_in_the_home_directory(sweep: bool, run: Run, home: Path) -> None:
    seen: list[tuple[str, Path, bool]] = []
    work: Work = lambda settings, folder: seen.append((settings.run, folder, folder.is_dir()))  # noqa: E731
    assert run(*(["-m", "seed=0,1"] if sweep else []), "run='~/r'", work=work) == (0, [])
    assert seen == [(f"{home}/r", home / "r" / name, True) for name in (["0", "1"] if sweep else [""])]
    assert list(Path().iterdir()) == []


@case("situations", "LENET_PL_DATA='~/data': data is read from the home directory")
def test_the_data_folder_may_be_in_the_home_directory(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENET_PL_DATA", "~/data")
    seen: list[tuple[str, str]] = []
    work: Work = lambda settings, folder: seen.append((settings.data_root, settings.data.root))  # type: ignore[union-attr]  # noqa: E731
    assert run("data=mnist", work=work) == (0, [])
    assert seen == [(f"{home}/data", f"{home}/data")]


PATHS = [
    ("train", "run", []),
    ("train", "data_root", []),
    ("train", "data.root", ["data=mnist"]),
    ("train", "data.root", ["data=emnist"]),
    ("train", "data.path", ["data=folder"]),
    ("train", "data.test_path", ["data=folder", "data.path=x"]),
    ("train", "data.path", ["data=arrays"]),
    ("search", "run", []),
    ("benchmark", "output_dir", []),
    ("benchmark", "data_root", []),
    ("compare", "runs", []),
    ("compare", "output_dir", []),
    ("inspect", "output_dir", []),
    ("inspect", "data_root", []),
    ("lab", "output_dir", []),
    ("lab", "data_root", []),
    ("evaluate", "data_root", []),
    ("predict", "images", []),
    ("explain", "images", []),
    *(
        (name, key, [])
        for name in ("evaluate", "predict", "explain", "export", "demo", "diagnose")
        for key in ("run", "ckpt_path", "output_dir")
    ),
]


@pytest.mark.parametrize(("name", "key", "others"), PATHS)
def test_every_path_may_begin_at_home_and_at_no_strangers(
    name: str, key: str, others: list[str], run: Run, home: Path
) -> None:
    needed = [word for word in NEEDED.get(name, ()) if not word.startswith(f"{key}=")]
    seen: list[Any] = []
    assert run(
        *needed, *others, f"{key}='~/p'", command=name, work=lambda given, _: seen.append(given.model_dump())
    ) == (0, [])
    value = seen[0]
    for part in key.split("."):
        value = value[part]
    assert value == f"{home}/p"
    code, lines = run(*needed, *others, f"{key}='~nobodyhere/p'", command=name)
    assert code == 2
    assert lines == [f"error: {key}: got '~nobodyhere/p'; must be a path, and there is no user nobodyhere"]
    assert not [path for path in Path().rglob("*") if "~" in path.name]


def test_a_path_without_tilde_is_left_as_it_is(home: Path) -> None:
    for path in ("runs/a", "./~/a", "a~", "/x/~b", ""):
        assert expand_home(path) == path
    assert expand_home("~") == str(home)
    with pytest.raises(ValueError, match=r"no user nobodyhere$"):
        expand_home("~nobodyhere")


# Files that Hydra writes to the run folder

WRITES_NOTHING = """
from lenet_pl.cli.command import run_command
from lenet_pl.train.resume import begin_or_resume
from lenet_pl.settings import TrainSettings
run_command("train", TrainSettings, lambda *_: print("begun"), begin_or_resume)
"""
ASKED = ("hydra/job_logging=default", "hydra.output_subdir=.hydra", "hydra.verbose=true", "hydra/hydra_logging=default")


@pytest.mark.parametrize("asked", ASKED)
def test_what_hydra_is_asked_to_write_is_not_taken_for_a_used_folder(asked: str, command: Command) -> None:
    for _ in range(2):  # nor by the files of an earlier start
        done = command("-c", WRITES_NOTHING, asked, "run=here")
        assert (done.returncode, "begun" in done.stdout) == (0, True), done.stderr


@case(
    "situations", "hydra/job_logging=default hydra.output_subdir=.hydra: trains, with Hydra's files in the run folder"
)
@pytest.mark.slow
def test_hydras_own_files_may_lie_in_the_run_folder(command: Command, tmp_path: Path) -> None:
    asked = ("hydra/job_logging=default", "hydra/hydra_logging=default", "hydra.output_subdir=.hydra", "run=here")
    done = command("-m", "lenet_pl.train", *SHORT, *QUIET, *asked)
    assert (done.returncode, done.stderr) == (0, "")
    files = {path.name for path in (tmp_path / "cwd" / "here").iterdir()}
    assert {".hydra", "results.json", "config.yaml"} <= files
    again = command("-m", "lenet_pl.train", *SHORT, *QUIET, *asked)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "already contains a run" in again.stderr


def test_another_programs_files_beside_hydras_are_still_refused(run: Run) -> None:
    Path("mine/.hydra").mkdir(parents=True)
    Path("mine/notes.txt").write_text("my own")
    code, (line,) = run("run=mine", "hydra.output_subdir=.hydra")
    assert code == 2
    assert line.endswith("mine is not empty; must be a new or an empty folder")


# Arguments that are not key=value

UNWRITTEN = {
    "predict run=x a.png": "a.png: got no value; must be written images=a.png",
    "predict run=x images=a.png b.png": "b.png: got no value; must be written images=[a.png,b.png]",
    "predict run=x images=[a.png,b.png] c.png": "c.png: got no value; must be written images=[a.png,b.png,c.png]",
    "predict runs/a a.png": "runs/a: got no value; must be written run=runs/a images=a.png",
    "predict run=x my photo.png": "my: got no value; settings are written key=value, see --help",
    "export run=x data=digits": (
        "data: unknown setting; the test images of the run are used; only evaluate takes data=<choice>"
    ),
    "explain run=x a.png b.png": "a.png: got no value; must be written images=[a.png,b.png]",
    "evaluate runs/first": "runs/first: got no value; must be written run=runs/first",
    "evaluate runs/a runs/b": "runs/a: got no value; must be written run=[runs/a,runs/b]",
    "evaluate best.ckpt": "best.ckpt: got no value; must be written ckpt_path=best.ckpt",
    "export runs/a": "runs/a: got no value; must be written run=runs/a",
    "demo runs/a runs/b": "runs/a: got no value; must be written run=[runs/a,runs/b]",
    "compare runs/a runs/b": "runs/a: got no value; must be written runs=[runs/a,runs/b]",
    "train lenet_bn": "lenet_bn: got no value; must be written with its group, model=lenet_bn",
    "train fashion": "fashion: got no value; must be written with its group, data=fashion",
    "search architecture": "architecture: got no value; must be written with its group, search=architecture",
    "train model lenet_bn": "model: got no value; must be written model=lenet_bn",
    "train seed 3": "seed: got no value; must be written seed=3",
    "train --model=lenet_bn": "--model=lenet_bn: no such option; settings are written without dashes, model=lenet_bn",
    "train --model lenet_bn": "--model: no such option; settings are written without dashes, model=lenet_bn",
    "train --batch-size 64": (
        "--batch-size: no such option; settings are written key=value, see --help; did you mean loader.batch_size=64?"
    ),
    "train model = lenet_bn": "model: got spaces around =; must be model=lenet_bn",
    "train model= lenet_bn": "model: got spaces around =; must be model=lenet_bn",
    "train model =lenet_bn": "model: got spaces around =; must be model=lenet_bn",
    "train model:lenet_bn": "model:lenet_bn: got no value; must be written with =, model=lenet_bn",
    "train lr=0.1": "lr: unknown setting; did you mean optimizer.lr?",
    "train epochs=3": "epochs: unknown setting; did you mean trainer.max_epochs?",
    "train epochs 3": (
        "epochs: got no value; settings are written key=value, see --help; did you mean trainer.max_epochs=3?"
    ),
    "train batch_size=64": "batch_size: unknown setting; did you mean loader.batch_size?",
    "train lenet_bm": (
        "lenet_bm: got no value; settings are written key=value, see --help; did you mean model=lenet_bn?"
    ),
    "train evaluate": "evaluate: got no value; for that command, use python -m lenet_pl.evaluate",
}


@pytest.mark.parametrize(
    ("words", "line"),
    [pytest.param(*row, id=row[0], marks=case("situations", f"{row[0]}: {row[1]}")) for row in UNWRITTEN.items()],
)
def test_a_word_that_is_no_setting_is_answered_with_what_is_meant(words: str, line: str, run: Run) -> None:
    name, *arguments = words.split()
    begun: list[object] = []
    answer = run(*arguments, command=name, work=lambda *given: begun.append(given))
    assert answer == (2, [f"error: {line}"])
    assert begun == []
    assert list(Path().iterdir()) == []


def test_names_with_spaces_are_quoted_for_hydra_and_the_shell(run: Run) -> None:
    Path("my photo.png").touch()
    answer = run("run=x", "my photo.png", "b.png", command="predict")
    assert answer == (2, ["""error: my photo.png: got no value; must be written "images=['my photo.png',b.png]\""""])


@pytest.mark.parametrize(
    "hint", [line for line in UNWRITTEN.values() if "must be written" in line and "data=" not in line]
)
def test_what_is_said_to_be_written_can_be_read(hint: str, run: Run) -> None:
    name = next(words.split()[0] for words, line in UNWRITTEN.items() if line == hint)
    words = re.sub(r".*must be (written )?(with its group, |with =, )?", "", hint).split()
    code, lines = run(*words, command=name)
    assert (code, lines) == (0, []) or "images: no value given" in lines[0]


# The command `python -m lenet_pl`


@case("situations", "python -m lenet_pl train data=digits: trains like python -m lenet_pl.train")
@pytest.mark.slow
def test_the_package_trains_as_the_command_does(command: Command, tmp_path: Path) -> None:
    for folder, words in {"a": ["lenet_pl", "train"], "b": ["lenet_pl.train"]}.items():
        done = command("-m", *words, *SHORT, *QUIET, f"run={folder}")
        assert (done.returncode, done.stderr) == (0, "")
    one, other = (json.loads((tmp_path / "cwd" / name / "results.json").read_text()) for name in "ab")
    assert one["metrics"] == other["metrics"]
    assert one["command"].replace("run=a", "run=b") == other["command"]


@pytest.mark.parametrize("name", KINDS)
def test_every_command_is_reached_through_the_package(name: str, command: Command, run: Run) -> None:
    mistake = "nonsense=1"
    done = command("-m", "lenet_pl", name, mistake)
    assert (done.returncode, done.stdout, [done.stderr.strip()]) == (2, "", run(mistake, command=name)[1])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["lenet_pl", "trian"], "trian: no such command; did you mean train? must be one of train, benchmark, "),
        (
            ["lenet_pl", "data=digits"],
            "data=digits: no such command; settings follow a command, as in python -m lenet_pl",
        ),
        (["lenet_pl", "--foo"], "--foo: no such command; must be one of train, "),
        (["lenet_pl.trian"], "trian: no such command; did you mean train? python -m lenet_pl lists them"),
        (["lenet_pl.trainer"], "trainer: no such command; did you mean train? python -m lenet_pl lists them"),
        (["lenet_pl.models", "data=digits"], "models: no such command; python -m lenet_pl lists them"),
    ],
    ids=" ".join,
)
@case(
    "situations", "an unknown command, or a module that is not a command: rejected with the closest match, exit code 2"
)
def test_a_command_that_there_is_not_is_refused(words: list[str], answer: str, command: Command) -> None:
    done = command("-m", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: {answer}")


def test_the_console_script_is_the_packages_main() -> None:
    text = (conf_dir().parent / "pyproject.toml").read_text()
    assert '[project.scripts]\nlenet = "lenet_pl.__main__:main"\n' in text


# Output


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """Open a pipe without a reader."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


SHOWING = (["lenet_pl"], ["lenet_pl.train", "--help"], ["lenet_pl.compare", "--help"], ["lenet_pl.train", "--version"])


@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
@case("situations", "--help | true: nothing on stderr, exit code 141 like a program ended by SIGPIPE")
def test_who_stops_reading_hears_nothing(words: list[str], command: Command, nobody_reads: int) -> None:
    done = command("-m", *words, stdout=nobody_reads)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
@case("situations", "--help > /dev/full: one error line with stdout and the reason, exit code 1")
def test_help_that_cannot_be_shown_is_no_success(words: list[str], command: Command) -> None:
    with Path("/dev/full").open("w") as full:
        done = command("-m", *words, stdout=full)
    assert (done.returncode, done.stderr) == (1, "error: stdout: No space left on device; the output is lost\n")


def closed(*words: str) -> tuple[str, ...]:
    """Build the arguments with which Python closes stdout and runs a module."""
    return (
        "-c",
        "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
        "-m",
        *words,
    )


@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
@case("situations", "--help >&-: one error line with stdout, exit code 1")
def test_help_without_stdout_is_no_success(words: list[str], command: Command) -> None:
    done = command(*closed(*words))
    assert (done.returncode, done.stderr) == (1, "error: stdout: Bad file descriptor; the output is lost\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "code", "line"),
    [
        ("gone", 0, ""),
        ("full", 1, "error: stdout: No space left on device; the output is lost, the files are written\n"),
        ("closed", 1, "error: stdout: Bad file descriptor; the output is lost, the files are written\n"),
    ],
)
@case(
    "situations",
    "a training with a closed pipe or a full disk as stdout: runs to its end and writes all files",
)
def test_a_training_does_not_end_with_its_output(
    where: str, code: int, line: str, command: Command, nobody_reads: int, tmp_path: Path
) -> None:
    words = ("lenet_pl.train", *SHORT, "callbacks.progress_bar=false", "run=here")
    if where == "closed":
        done = command(*closed(*words))
    else:
        with Path("/dev/full").open("w") as full:
            done = command("-m", *words, stdout=nobody_reads if where == "gone" else full)
    assert (done.returncode, done.stderr) == (code, line)
    assert {"results.json", "report.html", "curves.png"} <= {
        path.name for path in (tmp_path / "cwd" / "here").iterdir()
    }


@case("situations", "--version: prints the version of lenet_pl")
@pytest.mark.parametrize(
    "words", [["lenet_pl", "--version"], ["lenet_pl", "train", "--version"], ["lenet_pl.predict", "--version"]]
)
def test_the_version_shown_is_the_packages(words: list[str], command: Command) -> None:
    done = command("-m", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lenet_pl {lenet_pl.__version__}\n", "")


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("--run=x", "--run=x: no such option; settings are written without dashes, run=x"),
        ("--cfg=foo", "--cfg: invalid choice: 'foo' (choose from 'job', 'hydra', 'all'); see --hydra-help"),
        ("--resolve", "--resolve: got no --cfg; must be used with --cfg job, which shows the settings"),
        ("--vers", "--vers: no such option; settings are written key=value, see --help"),
        (
            "--experimental-rerun=x.pickle",
            "--experimental-rerun: got x.pickle, which is not supported; use settings of the form key=value",
        ),
    ],
)
@case("situations", "--run=x and other options that do not exist: one error line")
def test_an_option_that_is_none_takes_one_line(word: str, line: str, run: Run) -> None:
    assert run(word) == (2, [f"error: {line}"])


# Signals

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def guarded(pid: int) -> bool:
    """Return whether a process handles SIGTERM, which Python does not by default."""
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


def interrupt(
    folder: Path, environment: dict[str, str], number: int, seconds: float, *words: str
) -> tuple[int, list[str]]:
    """Send a signal some seconds after the import of the package has started; return exit code and lines of stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not guarded(process.pid):
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    time.sleep(seconds)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    return process.returncode, [line for line in errors.splitlines() if line and "stopping after this step" not in line]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("number", CODES, ids=lambda number: signal.Signals(number).name)
@pytest.mark.parametrize(
    "seconds",
    [
        *(0, 0.05, 0.1, 0.2, 0.4),
        *(pytest.param(x, marks=pytest.mark.slow) for x in (0.8, 3, 5)),
        *(pytest.param(x, marks=[pytest.mark.slow, pytest.mark.long]) for x in (1.5, 8)),
    ],
)
@case(
    "situations",
    "Ctrl-C or SIGTERM at any time after the first import of the package: one error line, exit code 130 or 143",
)
def test_a_signal_at_any_moment_is_one_line(
    seconds: float, number: signal.Signals, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    words = (
        "lenet_pl.train",
        "data=digits",
        "trainer.max_epochs=500",
        "callbacks=no_early_stopping",
        "logger=none",
        "run=here",
    )
    code, lines = interrupt(tmp_path, command_environment, number, seconds, *words, *QUIET)
    assert (code, len(lines)) == (CODES[number], 1), lines
    more = "; use run=here resume=true to resume" if (tmp_path / "here").exists() else ""
    assert lines[0] in ("error: interrupted; train has not started", f"error: interrupted; train is not finished{more}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["lenet_pl", "train", "data=digits"], "lenet_pl"),
        (["lenet_pl.compare"], "compare"),
        (["lenet_pl.evaluate", "run=x"], "evaluate"),
    ],
)
def test_a_signal_is_answered_so_by_every_command(
    words: list[str], name: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    assert interrupt(tmp_path, command_environment, signal.SIGINT, 0.1, *words) == (
        130,
        [f"error: interrupted; {name} has not started"],
    )


# Names of other programs


def advised(text: str) -> list[tuple[str, str]]:
    """List the settings and choices that a suggestion contains."""
    return re.findall(r"(?<![\w./])([a-z][\w./]*)=([\w/]*)", text)


def every_key(name: str) -> set[str]:
    """List the keys of a command under every choice of its config groups."""
    keys = set(known_keys(name))
    for group in {"data", "logger", "optimizer", "scheduler"} & set(groups_of(name)):
        for choice in choices_of(conf_dir() / group):
            values: Any = yaml.safe_load((conf_dir() / group / f"{choice}.yaml").read_text())
            keys |= set(setting_keys({group: values}))
    return keys


@pytest.mark.parametrize("name", OF_COMMAND)
def test_every_setting_and_choice_that_an_advice_names_is_there(name: str) -> None:
    keys, groups = every_key(name), groups_of(name)
    known = keys | {key.partition(".")[0] for key in keys}
    unknown = []
    for names, advice in OF_COMMAND[name].items():
        command = re.search(r"python -m lenet_pl\.(\w+)", advice)
        there = every_key(command[1]) | set(groups_of(command[1])) if command else known | set(groups)
        unknown += [(names, key) for key, _ in advised(advice) if key not in there and not key.startswith("hydra")]
        for key, value in advised(advice):
            if key in groups and value:
                assert value in (*choices_of(conf_dir() / key), "null"), (names, key, value)
    assert unknown == []


@pytest.mark.parametrize("name", OF_COMMAND)
def test_no_setting_of_ours_is_explained_as_anothers(name: str) -> None:
    own = {key for key in known_keys(name) if "." not in key}
    foreign = {one for names in OF_COMMAND[name] for one in names.split()}
    # There, data=<choice> is no setting, but data.accept_changes is
    assert own & foreign <= {"search"} | ({"data"} if name in ("explain", "export") else set())


def test_a_name_is_known_whatever_its_spelling() -> None:
    for key in ("learning_rate", "Learning-Rate", "trainer.learning_rate"):
        assert known_elsewhere("train", key) == "did you mean optimizer.lr?"
    assert known_elsewhere("train", "nonsense") == ""


HABITS = {
    "run=null": "run: got null; must be the path of a folder",
    "run=???": "run: no value given; a value is required, as in run=...",
    "optimizer.lr=${x}": (
        "optimizer.lr: got ${x}, but there is no setting x; must be a value, or ${...} with the key of another setting"
    ),
    "run=${oc.env:NOWHERE}": (
        "run: got ${oc.env:NOWHERE}, but the environment variable NOWHERE is not set; must be a value, or ${...} with "
        "the key of another setting"
    ),
    "fast_dev_run=true": (
        "fast_dev_run: unknown setting; trainer.fast_dev_run=true tries one batch of each split; debug=fast_dev_run "
        "also writes its run"
    ),
    "trainer.gpus=1": "trainer.gpus: unknown setting; write trainer.accelerator=gpu trainer.devices=<number>",
    "trainer.early_stopping=false": (
        "trainer.early_stopping: unknown setting; callbacks.early_stopping=null switches it off, "
        "callbacks.early_stopping.patience=<epochs> sets it"
    ),
    "callbacks.early_stopping=false": "callbacks.early_stopping: got false; must be a group of settings or null",
    "max_steps=100": "max_steps: unknown setting; did you mean trainer.max_steps?",
    "learning_rate=0.1": "learning_rate: unknown setting; did you mean optimizer.lr?",
    "loader.num_workers=4": (
        "loader.num_workers: unknown setting; there are no worker processes, as whole batches are made at once; leave "
        "it out"
    ),
    "weight_decay=0": "weight_decay: unknown setting; did you mean optimizer.weight_decay?",
    "dropout=0.5": "dropout: unknown setting; did you mean model.dropout?",
    "patience=3": (
        "patience: unknown setting; write callbacks.early_stopping.patience=<epochs>; of the learning rate it is "
        "scheduler.patience=<epochs>"
    ),
    "ckpt_path=x": "ckpt_path: unknown setting; write run=<its folder> resume=true to continue a run",
    "trainer.precision=16": (
        "trainer.precision: got 16; must be 'auto', '32-true', 'bf16-mixed', '16-mixed' or '64-true'; "
        "did you mean 16-mixed?"
    ),
    "trainer.accelerator=cuda": (
        "trainer.accelerator: got 'cuda'; must be 'auto', 'cpu', 'gpu' or 'mps'; did you mean gpu?"
    ),
    "overfit_batches=1": (
        "overfit_batches: unknown setting; trainer.overfit_batches=<number>; debug=overfit trains on one batch again "
        "and again"
    ),
    "gradient_clip_val=1": "gradient_clip_val: unknown setting; did you mean trainer.gradient_clip_val?",
    "+trainer.accumulate_grad_batches=2": (
        "+trainer.accumulate_grad_batches: already exists; use trainer.accumulate_grad_batches=... without the +"
    ),
    "val_split=0.1": "val_split: unknown setting; did you mean data.split.val_size?",
    "device=cuda": "device: unknown setting; write trainer.accelerator=<auto, cpu, gpu or mps>",
    "augment=[mixup,cutmix]": (
        "augment: got [mixup,cutmix], of which the last would replace the others; must be one choice; use "
        "augment.<setting>=... for what another one has"
    ),
    "optimizer.momentum=0.9": (
        "optimizer.momentum: not a setting of the chosen optimizer; use optimizer=muon, optimizer=rmsprop, "
        "optimizer=schedule_free_sgd or optimizer=sgd"
    ),
}


@pytest.mark.parametrize(
    ("word", "line"),
    [pytest.param(*row, id=row[0], marks=case("situations", f"{row[0]}: {row[1]}")) for row in HABITS.items()],
)
def test_what_other_programs_take_is_answered_with_what_there_is_here(word: str, line: str, run: Run) -> None:
    assert run(word) == (2, [f"error: {line}"])
    assert list(Path().iterdir()) == []


# Settings that could be silently ignored

DROPPED = {
    "train=false test=false": (
        "test: got false with train=false, which leaves nothing to do; one of them must be true"
    ),
    "seed=1 seed=2": "seed: got two values, seed=1 and seed=2; must be given once",
    "seed=1 +seed=2": "seed: got two values, seed=1 and +seed=2; must be given once",
    "model=lenet5 model=lenet_bn": "model: got two values, model=lenet5 and model=lenet_bn; must be given once",
    "seeds=[]": "seeds: got []; must be a list of at least 1 or null",
    "experiment=a,b": (
        "experiment: got several values, a,b; must be one, or use -m (--multirun) before the settings to run each"
    ),
    "seed==1": "seed: got =1; must have a single =, as in seed=1",
    "run==x": "run: got =x; must have a single =, as in run=x",
    "seed=": "seed: got ''; must be an integer",
    "data_root=": "data_root: got ''; must be non-empty text",
    "data=folder data.path=": "data.path: got ''; must be non-empty text",
    "model=": f"model: got ''; must be one of {', '.join(choices_of(conf_dir() / 'model'))}",
    "data.path=a(b data=folder": (
        """data.path: got a(b, which cannot be parsed; must be quoted, as in "data.path='a(b'\""""
    ),
    "~seed": "seed: no value given; a value is required",
    "~callbacks.early_stopping": "callbacks.early_stopping: no value given; a value or null is required",
    "~optimizer.lr=3": "~optimizer.lr=3: the value is 0.001; settings cannot be deleted, use optimizer.lr=3",
    "~model=lenet6": "~model=lenet6: not a chosen group; must be a group that is chosen, or be left out",
    "+model=lenet_bn": "+model: already exists; use model=lenet_bn without the +",
    "+nonsense=1": "nonsense: unknown setting; did you mean notes?",
    "hydra.job.chdir=true": ("hydra.job.chdir: got true; paths are relative to the working directory; leave it out"),
    "hydra.mode=MULTIRUN": "hydra.mode: got MULTIRUN; use -m before the settings to run all combinations",
    "hydra.output_subdir=.": (
        "hydra.output_subdir: got .; must be null or a name that starts with a dot, such as .hydra"
    ),
    "hydra/launcher=joblib": "hydra/launcher: got joblib, which only sweeps use; use -m before the settings",
    "hydra.searchpath=[file:///nowhere]": (
        "hydra.searchpath: /nowhere does not exist; must be existing folders, as in [file://<folder>]"
    ),
}


@pytest.mark.parametrize(
    ("words", "line"),
    [pytest.param(*row, id=row[0], marks=case("situations", f"{row[0]}: {row[1]}")) for row in DROPPED.items()],
)
def test_what_would_be_dropped_is_refused(words: str, line: str, run: Run) -> None:
    begun: list[object] = []
    assert run(*words.split(), work=lambda *given: begun.append(given)) == (2, [f"error: {line}"])
    assert begun == []
    assert [path for path in Path().rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "words", "line"),
    [
        ("predict", "images=[]", "images: got []; must be a string or a list of at least 1"),
        (
            "evaluate",
            "hydra.run.dir=x",
            "hydra.run.dir: got x, where this command writes nothing; use output_dir=<folder>",
        ),
        ("compare", "output_dir=null", "output_dir: got null; must be the path of a folder"),
        ("search", "run=null", "run: got null; must be the path of a folder"),
    ],
)
def test_what_other_commands_would_drop_is_refused(name: str, words: str, line: str, run: Run) -> None:
    assert run(*words.split(), command=name) == (2, [f"error: {line}"])
    assert list(Path().iterdir()) == []


def test_an_empty_word_is_refused(run: Run) -> None:
    assert run("") == (2, ["error: '': got no key; must be key=value, see --help"])


def test_the_same_setting_twice_drops_nothing(run: Run) -> None:
    assert run("seed=1", "seed=1") == (0, [])


def test_a_sweep_of_one_job_does_that_job(run: Run, tmp_path: Path) -> None:
    seen: list[tuple[int, Path]] = []
    work: Work = lambda settings, folder: seen.append((settings.seed, folder))  # noqa: E731
    assert run("-m", "seed=3", f"run={tmp_path / 'sweep'}", work=work) == (0, [])
    assert seen == [(3, tmp_path / "sweep" / "0")]


def test_a_finished_run_is_left_by_resume_auto_and_said_to_be(
    digits_run: Path, compose: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = compose("trainer.max_epochs=8", "logger=none", "callbacks.progress_bar=false", "resume=auto")
    assert begin_or_resume(given, digits_run, ["resume=auto"], False) is None
    assert capsys.readouterr().out == f"already finished: {digits_run}\n"


def test_settings_in_python_answer_paths_alike(compose: Any) -> None:
    values = compose().model_dump() | {"run": "~nobodyhere"}
    with pytest.raises(SettingError, match=r"^run: got '~nobodyhere'; must be a path"):
        validate(TrainSettings, values)
