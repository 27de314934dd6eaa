"""Several processes and one run folder: exactly one run is written, and existing files are never modified."""

import csv
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose
from filelock import FileLock
from lightning.fabric.utilities.rank_zero import rank_zero_only
from promise import case

import lenet_pl.train
from lenet_pl.cli.command import run_command
from lenet_pl.errors import UserError
from lenet_pl.runtime import folder_lock
from lenet_pl.runtime.folder_lock import lock_run_folder
from lenet_pl.runtime.processes import LAUNCH, PLACE, Process, this_process
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train
from lenet_pl.train.resume import begin_or_resume

Environment = dict[str, str]


def torchrun(rank: int, size: int) -> Environment:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "GROUP_RANK": 0}
    agent = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return {name: str(n) for name, n in numbers.items()} | agent | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def srun(rank: int, size: int) -> Environment:
    job = {"SLURM_JOB_ID": "41", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "train", "SLURM_NNODES": "1"}
    numbers = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": 0, "SLURM_NTASKS": size}
    step = {"SLURM_STEP_NUM_TASKS": size, "SLURM_STEP_TASKS_PER_NODE": size}
    return job | {name: str(number) for name, number in (numbers | step).items()}


def mpirun(rank: int, size: int) -> Environment:
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "SIZE": size, "LOCAL_SIZE": size}
    world = {f"OMPI_COMM_WORLD_{name}": str(number) for name, number in numbers.items()}
    return world | {"PMIX_RANK": str(rank), "PMIX_NAMESPACE": "1804402689"}


def mpiexec(rank: int, size: int) -> Environment:
    numbers = {"PMI_RANK": rank, "PMI_SIZE": size, "MPI_LOCALRANKID": rank, "MPI_LOCALNRANKS": size}
    return {name: str(number) for name, number in numbers.items()}


def jsrun(rank: int, size: int) -> Environment:
    numbers = {"JSM_NAMESPACE_RANK": rank, "JSM_NAMESPACE_LOCAL_RANK": rank, "JSM_NAMESPACE_SIZE": size}
    return {name: str(number) for name, number in numbers.items()} | {"LSB_JOBID": "7"}


def by_hand(rank: int, size: int) -> Environment:
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    return place | {"MASTER_ADDR": "localhost", "MASTER_PORT": PORT}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


PORT = str(free_port())
STYLES = {style.__name__: style for style in (torchrun, srun, mpirun, mpiexec, jsrun, by_hand)}
# Stale variables of a notebook, a shell or an earlier launch, which do not form a process group
LEFTOVERS: dict[str, Environment] = {
    "LOCAL_RANK": {"LOCAL_RANK": "1"},
    "SLURM_PROCID": {"SLURM_PROCID": "1"},
    "JSM_NAMESPACE_RANK": {"JSM_NAMESPACE_RANK": "1"},
    "WORLD_SIZE": {"WORLD_SIZE": "2", "LOCAL_RANK": "1"},
    "RANK": {"RANK": "1", "WORLD_SIZE": "2"},
    "no numbers": {"RANK": "", "LOCAL_RANK": "one", "WORLD_SIZE": "2"},
    "an allocation": {"SLURM_JOB_ID": "41", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "lab"},
    "a notebook under srun -n 1": srun(0, 1),
    "a launch that this machine is none of": {LAUNCH: "0123", "RANK": "1", "WORLD_SIZE": "2"},
}
GROUPS = {f"{name}, rank {rank}": style(rank, 2) for name, style in STYLES.items() for rank in (0, 1)}
NOT_IN_TESTS = (
    "RANK",
    "SLURM_",
    "OMPI_",
    "PMI",
    "MPI_",
    "JSM_",
    "LSB_",
    "TORCHELASTIC",
    "MASTER_",
    "WORLD",
    "LENET_PL",
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the launcher variables of the environment in which the tests run."""
    for name in list(os.environ):
        if name.startswith(NOT_IN_TESTS) or name in PLACE:
            monkeypatch.delenv(name)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Callable[[Environment], None]:
    """Set the environment variables of a launcher."""

    def _place(environment: Environment) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return _place


def fake_training(settings: TrainSettings, folder: Path, *_: Any) -> dict[str, Any]:
    """Fake a training that writes only the run files, with the rank that wrote them."""
    said = {"rank": rank_zero_only.rank, "pid": os.getpid()} | {name: os.environ.get(name) for name in PLACE}
    if rank_zero_only.rank == 0:
        (folder / "config.yaml").write_text("begun")
    (folder / f"said_{this_rank(settings)}.json").write_text(json.dumps(said))
    end = time.monotonic() + 60
    while os.environ.get("LOCAL_RANK") == "0" and not (folder / "said_1.json").exists() and time.monotonic() < end:
        time.sleep(0.01)  # as in each step
    if rank_zero_only.rank == 0:
        (folder / "results.json").write_text(f"{os.getpid()}")
    return said


def this_rank(settings: TrainSettings) -> str:
    return os.environ.get("LOCAL_RANK", "0") if settings.trainer.devices > 1 else "alone"


def content(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder except the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def state(name: str, folder: Path) -> Iterator[None]:
    """Create a folder that is new, not empty, or contains an active or finished run."""
    folder.mkdir(parents=True)
    if name in ("running", "finished"):
        (folder / "checkpoints").mkdir()
        files = {"config.yaml": "old", "metrics.csv": "old", "checkpoints/last.ckpt": "old"}
        for file, text in (files | ({"results.json": "old"} if name == "finished" else {})).items():
            (folder / file).write_text(text)
    if name in ("running", "taken"):
        with FileLock(folder / ".lock"):
            yield
    else:
        yield


def outcome(settings: TrainSettings, folder: Path) -> str:
    """Run the command with composed settings; return the error line, or an empty string if it trained."""
    try:
        settled = begin_or_resume(settings, folder, [f"run={folder}"], False)
        assert settled
        train(settled, folder)
    except UserError as error:
        return str(error) if error.exit_code == 2 else f"exit code {error.exit_code}: {error}"
    return ""


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake the training, and shorten all waiting times."""
    monkeypatch.setattr(lenet_pl.train, "train_one", fake_training)
    monkeypatch.setattr(folder_lock, "MEETS_WITHIN", 0.2)
    monkeypatch.setattr(folder_lock, "BRIEFLY", 0.01)
    monkeypatch.setattr(folder_lock, "POLLS_EVERY", 0.01)


Given = Callable[[int, Path], TrainSettings]


@pytest.fixture(scope="session")
def given(compose: Compose) -> Given:
    """Compose the settings of a run for a number of devices once, since that takes most of the time."""
    base = compose("trainer.strategy=ddp")

    def _given(devices: int, folder: Path) -> TrainSettings:
        trainer = base.trainer.model_copy(update={"devices": devices})
        return base.model_copy(update={"run": str(folder), "trainer": trainer})

    return _given


HOLDS = "run: {} already contains a run; must be a new or an empty folder"
WORKS = "run: {} is locked by another process; choose another folder or wait for it"
LINES = {"finished": HOLDS, "running": HOLDS, "taken": WORKS, "new": ""}


@case(
    "situations",
    "a launcher's environment variables and one device: finished and running runs are rejected, a new one is trained",
)
@pytest.mark.parametrize("name", ["finished", "running", "taken", "new"])
@pytest.mark.parametrize("environment", [*LEFTOVERS.values(), *GROUPS.values()], ids=[*LEFTOVERS, *GROUPS])
def test_one_device_is_one_process_whatever_the_environment_says(
    environment: Environment,
    name: str,
    given: Given,
    tmp_path: Path,
    place: Callable[[Environment], None],
    faked: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(environment)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as if Lightning had been imported with these variables
    folder, before = tmp_path / "run", dict(os.environ)
    with state(name, folder):
        old = content(folder)
        assert outcome(given(1, folder), folder) == LINES[name].format(folder)
        new = content(folder)
    assert dict(os.environ) == before
    assert rank_zero_only.rank == 1
    if name != "new":
        assert new == old
        return
    said = json.loads(new["said_alone.json"])
    assert said["rank"] == 0
    assert not any(said[variable] for variable in PLACE)


@case("situations", "a stale LOCAL_RANK or WORLD_SIZE and two devices: rank 0 owns the folder, no waiting")
@pytest.mark.parametrize("name", ["finished", "running", "taken", "new"])
@pytest.mark.parametrize("environment", LEFTOVERS.values(), ids=LEFTOVERS)
def test_leftovers_make_no_group(
    environment: Environment,
    name: str,
    given: Given,
    tmp_path: Path,
    place: Callable[[Environment], None],
    faked: None,
) -> None:
    place(environment)
    folder, before = tmp_path / "run", dict(os.environ)
    with state(name, folder):
        old = content(folder)
        assert outcome(given(2, folder), folder) == LINES[name].format(folder)
        new = content(folder)
    assert dict(os.environ) == before
    if name != "new":
        assert new == old
        return
    said = json.loads(new["said_0.json"])
    assert said["LOCAL_RANK"] is None  # so that Lightning starts the second process
    assert said[LAUNCH]
    assert said["MASTER_ADDR"] == "127.0.0.1"


@case(
    "situations", "one of two processes of a launch and two devices, the other missing or late: rejected, no files left"
)
@pytest.mark.parametrize("name", ["finished", "running", "taken", "new"])
@pytest.mark.parametrize("environment", GROUPS.values(), ids=GROUPS)
def test_a_member_touches_no_folder_but_that_of_its_launch(
    environment: Environment,
    name: str,
    given: Given,
    tmp_path: Path,
    place: Callable[[Environment], None],
    faked: None,
) -> None:
    place(environment)
    folder = tmp_path / "run"
    with state(name, folder):
        old = content(folder)
        line = outcome(given(2, folder), folder)
        assert content(folder) == old
    if name == "new":
        missing = this_process(2).rank == 0
        assert line.startswith(
            "trainer.devices: process 1 of 2, started by " if missing else "run: process 1 of 2 found no"
        )
        assert list(folder.iterdir()) == []
    else:
        assert line == LINES[name].format(folder)


@case("situations", "`resume=true` with a stale rank while the run is active: rejected, no file modified")
@pytest.mark.parametrize("environment", [LEFTOVERS["LOCAL_RANK"], srun(1, 2), {}], ids=["LOCAL_RANK", "srun", "none"])
def test_a_run_under_way_is_not_resumed(
    environment: Environment,
    digits_run: Path,
    compose: Compose,
    tmp_path: Path,
    place: Callable[[Environment], None],
    faked: None,
) -> None:
    place(environment)
    folder = tmp_path / "run"
    shutil.copytree(digits_run, folder)
    (folder / "results.json").unlink()
    old = content(folder)
    with FileLock(folder / ".lock"):
        assert outcome(compose(f"run={folder}", "resume=true"), folder) == WORKS.format(folder)
    assert content(folder) == old


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@case("situations", "3 tasks of a launcher and 2 devices: one error line with both numbers")
def test_tasks_and_devices_that_do_not_fit_are_refused(
    style: Callable[[int, int], Environment], tmp_path: Path, given: Given, place: Callable[[Environment], None]
) -> None:
    place(style(2, 3))
    line = outcome(given(2, tmp_path), tmp_path)
    assert line.startswith("trainer.devices: got 2, but ")
    assert " has started 3 tasks (" in line
    assert line.endswith("=3); must be equal, or use one task, which starts the others")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("style", "here"),
    [(srun, ("SLURM_STEP_TASKS_PER_NODE", "1(x2)")), (torchrun, ("LOCAL_WORLD_SIZE", "1"))],
    ids=["srun", "torchrun"],
)
def test_tasks_on_several_machines_are_refused(
    style: Callable[[int, int], Environment],
    here: tuple[str, str],
    tmp_path: Path,
    given: Given,
    place: Callable[[Environment], None],
) -> None:
    place(style(0, 2) | dict([here]))
    line = outcome(given(2, tmp_path), tmp_path)
    assert line.startswith("trainer.devices: got 2, but ")
    assert f"started 2 tasks on several machines ({'='.join(here)}); must all be on one machine" in line


def test_members_of_a_launch_have_one_folder(place: Callable[[Environment], None], given: Given) -> None:
    place(srun(1, 2))
    for overrides in ([], ["run=runs/${now:%H-%M}"]):
        with pytest.raises(UserError, match=r"^run: got no folder for 2 processes started by srun, .*; must be given"):
            begin_or_resume(given(2, Path("unused")), Path("unused"), overrides, False)


def test_a_launch_inside_another_is_the_inner_one(place: Callable[[Environment], None]) -> None:
    place(srun(0, 1) | torchrun(1, 2))
    assert (this_process(2).launcher, this_process(2).rank) == ("torchrun", 1)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_two_launches_differ(style: Callable[[int, int], Environment], monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(**more: str) -> str:
        with monkeypatch.context() as context:
            for name, value in (style(0, 2) | {"MASTER_PORT": "29500"} | more).items():
                context.setenv(name, value)
            return this_process(2).launch

    again = {"SLURM_STEP_ID": "1", "PMIX_NAMESPACE": "2", "MASTER_PORT": "29501"}
    if style in (mpiexec, jsrun):  # without a launch id; the parent process id identifies the launch
        monkeypatch.setattr(os, "getppid", lambda: 5)
        assert launch().endswith(" 5")
    else:
        assert launch() == launch(**{"SLURM_PROCID": "1", "OMPI_COMM_WORLD_RANK": "1"}) != launch(**again)


# Pairs of real processes


class Command:
    """Run `python -m lenet_pl.train` in a forked process, which saves the imports."""

    def __init__(self, environment: Environment, *arguments: str, fake: bool = False, **patched: Any) -> None:
        self.log = Path(str(Path.cwd() / f"log_{time.monotonic_ns()}"))
        self.process = multiprocessing.get_context("fork").Process(
            target=_command, args=(environment, arguments, self.log, fake, patched)
        )
        self.process.start()

    def wait(self, seconds: float = 120) -> int:
        self.process.join(seconds)
        assert self.process.exitcode is not None, self.said()
        return self.process.exitcode

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def errors(self) -> list[str]:
        return [line for line in self.said().splitlines() if line.startswith("error: ")]


def _command(environment: Environment, arguments: tuple[str, ...], log: Path, fake: bool, patched: Any) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ.update(environment)
    for name, value in patched.items():
        setattr(folder_lock, name, value)
    if fake:
        lenet_pl.train.train_one = fake_training  # type: ignore[assignment]
    rank_zero_only.rank = int(environment.get("LOCAL_RANK") or environment.get("SLURM_PROCID") or 0)
    sys.argv = ["train", *arguments]
    try:
        run_command("train", TrainSettings, train, prepare=begin_or_resume)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Command]]:
    """Start commands, and kill the remaining ones at the end."""
    monkeypatch.chdir(tmp_path)
    started: list[Command] = []

    def start(*arguments: Any, **options: Any) -> Command:
        started.append(Command(*arguments, **options))
        return started[-1]

    yield start
    for command in started:
        if command.process.is_alive():
            command.process.kill()
        command.process.join()


QUIET = (
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
)
REAL = (
    *QUIET,
    "data=fake",
    "data.num_images=96",
    "data.test_images=24",
    "loader.batch_size=24",
    "trainer.max_epochs=1",
    "logger=both",
    "trainer.precision=32-true",
)


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@case("situations", "two tasks of srun, torchrun or MPI with two devices: one run, later processes are rejected")
def test_two_processes_of_a_launch_have_one_folder(
    style: Callable[[int, int], Environment], tmp_path: Path, commands: Callable[..., Command]
) -> None:
    pair = [commands(style(rank, 2), "run=two", "trainer=ddp", fake=True) for rank in (1, 0)]
    for command in pair:
        assert command.wait() == 0, command.said()
        assert command.errors() == []
    said = [json.loads(Path(f"two/said_{rank}.json").read_text()) for rank in (0, 1)]
    assert [one["rank"] for one in said] == [0, 1]
    assert [one["pid"] for one in said] == [pair[1].process.pid, pair[0].process.pid]
    assert said[0]["MASTER_PORT"] == said[1]["MASTER_PORT"]
    assert content(Path("two")).keys() - {".slurm_job"} == {
        "config.yaml",
        "results.json",
        "said_0.json",
        "said_1.json",
    }
    old = content(Path("two"))
    late = [commands(style(rank, 2), "run=two", "trainer=ddp", fake=True) for rank in (0, 1)]
    for command in late:
        assert command.wait() == 2
        assert command.errors() == ["error: " + HOLDS.format(tmp_path / "two")]
    assert content(Path("two")) == old


# One launcher without a port in the environment of its tasks, and one with; others differ only in names
@pytest.mark.parametrize("style", [mpiexec, pytest.param(srun, marks=pytest.mark.slow)])
@case(
    "situations",
    "two tasks of srun, torchrun or MPI with two devices: one training, with the results of a single process",
)
def test_two_processes_of_a_launch_train_together(
    style: Callable[[int, int], Environment], tmp_path: Path, commands: Callable[..., Command]
) -> None:
    one = commands({}, "run=one", *REAL)
    assert one.wait() == 0, one.said()
    together = ("trainer.devices=2", "trainer.strategy=ddp")
    pair = [commands(style(rank, 2), "run=two", *REAL, *together) for rank in (0, 1)]
    for command in pair:
        assert command.wait() == 0, command.said()
        assert command.errors() == []
    left = [{path.name for path in Path(name).iterdir()} - {".slurm_job"} for name in ("one", "two")]
    assert left[0] == left[1]
    alone, both = (json.loads(Path(name, "results.json").read_text()) for name in ("one", "two"))
    assert both["images"] == alone["images"]
    for name, value in alone["metrics"].items():
        assert both["metrics"][name] == pytest.approx(value, abs=1e-3), name
    with Path("two/metrics.csv").open() as stream:
        assert len(list(csv.reader(stream))) == 2


@pytest.mark.parametrize(
    "style", [*STYLES.values(), lambda rank, size: LEFTOVERS["LOCAL_RANK"]], ids=[*STYLES, "notebook"]
)
@case("situations", "two tasks of srun, torchrun or MPI with one device each, one folder: one trains, one is rejected")
def test_of_two_tasks_with_one_device_each_one_trains(
    style: Callable[[int, int], Environment], tmp_path: Path, commands: Callable[..., Command]
) -> None:
    pair = [commands(style(rank, 2), "run=both", fake=True) for rank in (0, 1)]
    codes = [command.wait() for command in pair]
    assert sorted(codes) == [0, 2], [command.said() for command in pair]
    (line,) = pair[codes.index(2)].errors()
    assert line in ("error: " + HOLDS.format(tmp_path / "both"), "error: " + WORKS.format(tmp_path / "both"))
    winner = pair[codes.index(0)].process.pid
    assert Path("both/results.json").read_text() == f"{winner}"
    assert json.loads(Path("both/said_alone.json").read_text())["pid"] == winner


@case("situations", "a run ends between the check of its folder and the lock: rejected, the results stay")
def test_a_folder_that_was_filled_meanwhile_is_refused(
    tmp_path: Path, given: Given, faked: None, place: Callable[[Environment], None]
) -> None:
    settings = given(1, tmp_path)
    settled = begin_or_resume(settings, tmp_path, [], False)
    assert outcome(settings, tmp_path) == ""
    old = content(tmp_path)
    place(LEFTOVERS["SLURM_PROCID"])
    assert settled
    with pytest.raises(UserError) as error:
        train(settled, tmp_path)
    assert str(error.value) == HOLDS.format(tmp_path)
    assert content(tmp_path) == old


def test_the_owners_children_are_known_by_what_it_hands_down(tmp_path: Path, commands: Callable[..., Command]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    ddp = (f"run={folder}", "trainer=ddp")
    with lock_run_folder(folder, Process(0, 2)):
        launch = os.environ[LAUNCH]
        (folder / "config.yaml").write_text("begun")
        child = commands({"LOCAL_RANK": "1"}, *ddp, fake=True)
        # Variables of the owner in a shell that it has opened; another launch; an impossible rank
        for strange in ({}, {LAUNCH: "other", "LOCAL_RANK": "1"}, {LAUNCH: launch, "LOCAL_RANK": "2"}):
            other = commands(strange, *ddp, fake=True)
            assert other.wait() == 2, other.said()
            assert other.errors() == ["error: " + HOLDS.format(folder)]
        assert child.wait() == 0, child.said()
        said = json.loads((folder / "said_1.json").read_text())
        assert (said["rank"], said["MASTER_PORT"]) == (1, os.environ["MASTER_PORT"])
        assert said[LAUNCH] is None
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "said_1.json"}
    late = commands({LAUNCH: launch, "LOCAL_RANK": "1"}, *ddp, fake=True)
    assert late.wait() == 2
    assert late.errors() == ["error: " + HOLDS.format(folder)]


def test_an_owner_that_was_killed_keeps_nobody_out(
    tmp_path: Path, place: Callable[[Environment], None], given: Given, faked: None
) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".owner").write_text(json.dumps({"launch": "srun 41 0 ", "address": "127.0.0.1", "port": 1}))
    place(srun(1, 2))
    assert outcome(given(2, tmp_path), tmp_path).startswith("run: process 1 of 2 found no")
    assert outcome(given(1, tmp_path), tmp_path) == ""


@pytest.mark.slow
@case(
    "situations",
    "`torchrun --nproc-per-node 2`: trains with two devices; one process is rejected with one device, both with 3",
)
@pytest.mark.parametrize("devices", [2, 1])
def test_under_a_real_torchrun(devices: int, tmp_path: Path, command_environment: dict[str, str]) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "lenet_pl.train"]
    more = ["trainer.strategy=ddp", f"trainer.devices={devices}", "run=both"]
    done = subprocess.run(
        [*launcher, *REAL, *more], env=command_environment, cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if devices == 2:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "both" / "results.json").exists()
    else:  # torchrun then stops the other one
        assert done.returncode != 0
        assert len([line for line in errors if line == "error: " + WORKS.format(tmp_path / "both")]) == 1


@pytest.mark.slow
@case("situations", "a stale LOCAL_RANK=1 and two devices: Lightning starts the second process, and both train")
def test_leftovers_do_not_keep_two_processes_from_training(tmp_path: Path, command_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "lenet_pl.train", "run=two", *REAL, "trainer.devices=2", "trainer.strategy=ddp"]
    environment = command_environment | LEFTOVERS["WORLD_SIZE"] | LEFTOVERS["an allocation"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two" / "results.json").exists()
    assert sorted(path.name for path in (tmp_path / "two").iterdir() if path.name.startswith(".")) == [".slurm_job"]


# The port


@contextmanager
def occupied(address: str = "127.0.0.1") -> Iterator[int]:
    with socket.socket() as one:
        one.bind((address, 0))
        one.listen()
        yield int(one.getsockname()[1])


@pytest.mark.parametrize("address", ["127.0.0.1", ""], ids=["on this address", "on all"])
@case("situations", "MASTER_PORT in use with trainer=ddp: exit code 2, one error line with the port, no folder left")
def test_a_port_in_use_is_named(address: str, tmp_path: Path, command_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "lenet_pl.train", "run=runs/new", "trainer=ddp", *QUIET, "data=fake"]
    with occupied(address) as port:
        environment = command_environment | {"MASTER_PORT": str(port)}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    line = f"error: MASTER_PORT: got {port}, address already in use; must be a free port, or unset to use one"
    assert done.stderr.splitlines() == [line]
    assert list(tmp_path.iterdir()) == []


MEETING = {
    "a name": ({"MASTER_PORT": "auto"}, "MASTER_PORT: got 'auto'; must be 1 to 65535, or unset"),
    "0": ({"MASTER_PORT": "0"}, "MASTER_PORT: got '0'; must be 1 to 65535"),
    "too large": ({"MASTER_PORT": "70000"}, "MASTER_PORT: got '70000'; must be 1 to 65535"),
    "no host": (
        {"MASTER_ADDR": "nowhere.invalid"},
        "MASTER_ADDR: got 'nowhere.invalid', which cannot be resolved; must be",
    ),
    "an endless name": ({"MASTER_ADDR": "a" * 80}, f"MASTER_ADDR: got '{'a' * 80}', which cannot be resolved; must be"),
    "another machine": (
        {"MASTER_ADDR": "192.0.2.7"},
        "MASTER_ADDR: got '192.0.2.7', which is another machine; must be",
    ),
}


@pytest.mark.parametrize(("environment", "line"), MEETING.values(), ids=MEETING)
@case(
    "situations",
    "an invalid MASTER_ADDR or MASTER_PORT: one error line with the variable, the next start is not blocked",
)
def test_a_place_where_no_processes_can_meet_is_named(
    environment: Environment,
    line: str,
    tmp_path: Path,
    given: Given,
    faked: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = given(2, tmp_path)
    with monkeypatch.context() as context:
        for name, value in environment.items():
            context.setenv(name, value)
        assert outcome(settings, tmp_path).startswith(line)
        assert list(tmp_path.iterdir()) == []
    assert outcome(settings, tmp_path) == ""


def test_one_device_needs_no_port(
    tmp_path: Path, given: Given, place: Callable[[Environment], None], faked: None
) -> None:
    with occupied() as port:
        place({"MASTER_PORT": str(port), "MASTER_ADDR": "nowhere.invalid"})
        assert outcome(given(1, tmp_path), tmp_path) == ""


@case("situations", "the port is taken after it was found free: one error line, exit code 1, the folder is not blocked")
def test_a_port_that_was_taken_meanwhile_is_named(tmp_path: Path, commands: Callable[..., Command]) -> None:
    with occupied() as port:
        patched = {"meeting_point": lambda process: ("127.0.0.1", port), "_await_others": lambda folder, process: None}
        first = commands(srun(0, 2), "run=new", *REAL, "trainer.devices=2", "trainer.strategy=ddp", **patched)
        assert first.wait() == 1, first.said()
    (line,) = first.errors()
    assert line.startswith(
        f"error: trainer.devices: the processes cannot connect at 127.0.0.1, port {port}; try again ("
    )
    assert content(Path("new")).keys() <= {".slurm_job"}
    again = commands(srun(0, 2), "run=new", fake=True)
    assert again.wait() == 0, again.said()
