"""Fixtures shared by all tests: composed settings, a short run on real digits, a run with unusual names."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import KINDS
from odd_names import write_images
from promise import PromiseTable

from lenet_pl.cli.command import run_command
from lenet_pl.settings import TrainSettings
from lenet_pl.settings import compose as composition
from lenet_pl.train import train

FASHION = Path("/usr/share/datasets/fashion-mnist")

Compose = Callable[..., TrainSettings]
Work = Callable[[TrainSettings, Path], object]
Run = Callable[..., tuple[int, list[str]]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak-minutes", type=float, default=20, help="duration of test_soak.py")
    parser.addoption("--promises", type=Path, metavar="FILE", help="write the table of promises and their cases")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--promises")
    if path and not hasattr(config, "workerinput"):  # xdist workers report to the main process, which writes
        config.pluginmanager.register(PromiseTable(path, config.option.markexpr))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties += [("case", mark.args) for mark in item.iter_markers("case")]


@pytest.fixture(autouse=True, scope="session")
def _one_thread_per_worker() -> None:
    """Use one thread per test process, since several processes share the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _no_digests_in_the_home() -> Iterator[None]:
    """Disable the cache of digests, which is in the home directory; its own tests enable it elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lenet_pl.data.image_digests.SETTLED", 10**20)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_ledger_in_the_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the ledger of test splits in a folder of the session, also for commands in subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LENET_PL_TEST_USES", str(tmp_path_factory.mktemp("ledger") / "test_uses.csv"))
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command (default: `train`) in this process and in an empty folder, with `work` as its function."""
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
    """Restore the default signal handlers, since the parent may ignore signals, as nohup does."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore the number of torch threads after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def compose() -> Compose:
    """Compose settings like the command line: `compose("model=lenet_bn", "seed=1")`."""

    def _compose(*overrides: str) -> TrainSettings:
        return composition.compose("train", TrainSettings, ["run=unused", *overrides])

    return _compose


@pytest.fixture(scope="session")
def digits_run(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train `lenet5` on digits for 8 epochs; tests must not modify the run folder."""
    folder = tmp_path_factory.mktemp("digits_run")
    with contextlib.redirect_stdout(io.StringIO()):
        train(compose("trainer.max_epochs=8", "logger=none", "callbacks.progress_bar=false"), folder)
    return folder


@dataclass(frozen=True)
class OddRun:
    """A run whose classes, title and folder have unusual names, trained with an ASCII stdout."""

    folder: Path
    data: Path
    ended: "subprocess.CompletedProcess[bytes]"


@pytest.fixture(scope="session")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> OddRun:
    """Train on unusual names with the command; tests must not modify the run folder."""
    place = tmp_path_factory.mktemp("odd") / "$x$ [red]猫"
    write_images(place / "data")
    given = [f"data.path='{place / 'data'}'", "data.display_name='[bold]$x$ <i>'", f"run='{place / 'run'}'"]
    given += ["loader.batch_size=16", "trainer.max_epochs=2", "seed=0"]
    ended = subprocess.run(
        [sys.executable, "-m", "lenet_pl.train", "data=folder", *given],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=300,
    )
    return OddRun(place / "run", place / "data", ended)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Debian's chromium; the tests of a module share it, and are skipped without it."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs the browser chromium, of Debian's package")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as start:
        opened = start.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def command_environment() -> dict[str, str]:
    """Return the environment variables for commands in subprocesses: one thread, unbuffered output."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="needs Fashion-MNIST from Debian's package dataset-fashion-mnist"
)
