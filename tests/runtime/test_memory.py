import gc
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Compose

from lenet_pl.runtime.memory import peak_memory, tune_malloc
from lenet_pl.train import train

MB = 1_000_000
TAKE = """
import sys
from lenet_pl.runtime.memory import peak_memory
before = peak_memory()
taken = bytearray(int(sys.argv[1]))
taken[::4096] = b"x" * len(taken[::4096])
del taken
print(peak_memory() - before)
"""


def test_the_peak_counts_what_was_freed_again_and_not_what_the_parent_holds() -> None:
    held = bytearray(b"x") * (300 * MB)
    out = subprocess.run([sys.executable, "-c", TAKE, str(100 * MB)], capture_output=True, text=True, check=True)
    assert 95 * MB < int(out.stdout) < 120 * MB
    assert peak_memory() > len(held)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_blocks_of_a_step_are_taken_again_without_page_faults() -> None:
    script = """
import resource, sys
import torch
from lenet_pl.runtime.memory import tune_malloc
if sys.argv[1] == "keep":
    assert tune_malloc()
for _ in range(3):
    torch.ones(10_000_000).add(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(10_000_000).add(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {}
    for how in ("keep", "usual"):
        out = subprocess.run([sys.executable, "-c", script, how], capture_output=True, text=True, check=True)
        faults[how] = int(out.stdout)
    assert faults["keep"] < 0.5 * faults["usual"]  # the heap still grows a little at first


@pytest.mark.skipif(sys.platform.startswith("linux"), reason="for other systems")
def test_elsewhere_it_says_that_nothing_was_done() -> None:
    assert not tune_malloc()


@pytest.mark.slow
def test_a_network_drawn_for_tensorboard_is_not_kept_until_the_process_ends(compose: Compose, tmp_path: Path) -> None:
    def traced() -> int:
        gc.collect()
        return sum(issubclass(type(one), type) and one.__name__ == "QualnameWrapper" for one in gc.get_objects())

    before = traced()
    words = ("logger=tensorboard", "trainer.accelerator=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    train(compose(*words, "callbacks.progress_bar=false"), tmp_path)
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert traced() <= before
