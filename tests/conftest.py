"""What tests share: composed settings, real digits, real Fashion-MNIST where it is installed."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from commands import KINDS
from odd_names import write_images
from promise import PromiseTable

from lenet_pl import composition
from lenet_pl.command import run_command
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train

FASHION = Path("/usr/share/datasets/fashion-mnist")

Compose = Callable[..., TrainSettings]
Work = Callable[[TrainSettings, Path], object]
Run = Callable[..., tuple[int, list[str]]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-minutes", type=float, default=20, help="how long test_soak.py works")
    parser.addoption("--promises", type=Path, metavar="FILE", help="write the table of promises and their cases")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--promises")
    if path and not hasattr(config, "workerinput"):  # workers of xdist report to the process that writes
        config.pluginmanager.register(PromiseTable(path, config.option.markexpr))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties += [("case", mark.args) for mark in item.iter_markers("case")]


@pytest.fixture(autouse=True, scope="session")
def _one_thread_per_worker() -> None:
    """Several test processes share the cores; more threads than cores would be slower."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_digests_in_the_home() -> Iterator[None]:
    """Keep no digests of arrays that tests make; those who test that say where."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lenet_pl.data.content.SETTLED", 10**20)
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command, `train` unless told otherwise, in this process, in an empty folder and with other work."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def _run(
        *arguments: str, work: Work = lambda settings, folder: None, command: str = "train"
    ) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", [command, *arguments])
        try:
            run_command(command, KINDS[command], work)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, capsys.readouterr().err.splitlines()

    return _run


@pytest.fixture
def heard() -> Iterator[None]:
    """Let this process hear signals that whoever started it may have told it to ignore, as nohup does."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def threads() -> Iterator[None]:
    """Give the number of threads back that a test has changed."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Compose settings as the command line does: `compose("model=lenet_bn", "seed=1")`."""

    def _compose(*overrides: str) -> TrainSettings:
        return composition.compose("train", TrainSettings, ["run=unused", *overrides])

    return _compose


@pytest.fixture(scope="session")
def digits_run(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short real run, `lenet5` on digits, which tests read and do not change."""
    folder = tmp_path_factory.mktemp("digits_run")
    with contextlib.redirect_stdout(io.StringIO()):
        train(compose("trainer.max_epochs=8", "logger=none", "callbacks.progress_bar=false"), folder)
    return folder


@dataclass(frozen=True)
class OddRun:
    """A run on images whose classes, title and place have odd names, trained where only ASCII can be printed."""

    folder: Path
    data: Path
    ended: "subprocess.CompletedProcess[bytes]"


@pytest.fixture(scope="session")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> OddRun:
    """Train with the command itself, which tests read and do not change."""
    place = tmp_path_factory.mktemp("odd") / "$x$ [red]猫"
    write_images(place / "data")
    given = [f"data.path='{place / 'data'}'", "data.title='[bold]$x$ <i>'", f"run='{place / 'run'}'"]
    given += ["loader.batch_size=16", "trainer.max_epochs=2", "seed=0"]
    ended = subprocess.run(
        [sys.executable, "-m", "lenet_pl.train", "data=folder", *given],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=300,
    )
    return OddRun(place / "run", place / "data", ended)


@pytest.fixture
def command_environment() -> dict[str, str]:
    """Environment for a command that a test starts: no user site, one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="needs Fashion-MNIST from Debian's package dataset-fashion-mnist"
)
