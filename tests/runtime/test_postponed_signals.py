"""Signals during an import, which a library would swallow, or for which its C++ code would abort."""

import importlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lenet_pl.runtime import startup
from lenet_pl.runtime.signals import Interruption, SignalHandler

LIBRARY = """
import os, signal, time
swallowed = False
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.3)
except BaseException:
    swallowed = True
done = True
"""


@pytest.fixture
def import_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Write a library that receives a signal while it is imported, and would swallow its exception."""
    (tmp_path / "signalled_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "signalled_library", raising=False)

    def run() -> None:
        importlib.import_module("signalled_library")
        time.sleep(5)

    return run


def library_was_imported() -> bool:
    library = sys.modules.pop("signalled_library")
    return bool(library.done and not library.swallowed)


def test_a_training_is_interrupted_after_the_import(import_library: Callable[[], None]) -> None:
    start = time.monotonic()
    with pytest.raises(Interruption) as caught, SignalHandler():
        import_library()
    assert caught.value.exit_code == 128 + signal.SIGTERM
    assert library_was_imported()
    assert time.monotonic() - start < 4


def test_a_command_is_interrupted_after_the_import(
    import_library: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup._State, "received", None)
    monkeypatch.setattr(startup._State, "stage", startup.STARTING)
    monkeypatch.setattr(startup._State, "name", "")
    before = signal.signal(signal.SIGTERM, startup._on_signal)
    try:
        with pytest.raises(Interruption), startup.Working("train"):
            import_library()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert library_was_imported()


def test_a_second_signal_is_not_postponed(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    program = """
from lenet_pl.runtime import startup
from lenet_pl.runtime.signals import Interruption

startup.listen("train")
with startup.Working("train"):
    try:
        import endless
    except Interruption:
        raise SystemExit(7)
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # the first one has come again a few times
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 7
