"""Two processes on the CPU against one: the same batches, the same losses, every image counted once."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import needs_fashion

COMMON = (
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "trainer.precision=32-true",  # bf16 has no five digits to agree in
    "trainer.max_epochs=1",
    "callbacks.progress_bar=false",
    "callbacks.model_summary=false",
    "logger=csv",
    "trainer.log_every_n_steps=1",
)


def train(folder: Path, environment: dict[str, str], *overrides: str) -> tuple[dict[str, Any], list[float]]:
    """Run the command; returns results.json and the loss of each step."""
    command = [sys.executable, "-m", "lenet_pl.train", f"run={folder}", *COMMON, *overrides]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with (folder / "csv" / "metrics.csv").open() as stream:
        losses = [float(row["train/loss_step"]) for row in csv.DictReader(stream) if row["train/loss_step"]]
    return json.loads((folder / "results.json").read_text()), losses


CASES = {
    "fashion": ("data=fashion", "trainer.limit_train_batches=60", "loader.eval_batch_size=999"),
    # 57 images of a batch on two processes, 10 + 10 in the last one, 63 images to test, 7 at a time
    "odd": (
        "data=fake",
        "data.num_images=255",
        "data.test_images=63",
        "loader.batch_size=57",
        "loader.eval_batch_size=7",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [pytest.param(CASES["fashion"], marks=[needs_fashion, pytest.mark.long]), CASES["odd"]], ids=list(CASES)
)
def test_two_processes_learn_what_one_learns(
    case: tuple[str, ...], tmp_path: Path, command_environment: dict[str, str]
) -> None:
    one, alone = train(tmp_path / "one", command_environment, *case)
    two, together = train(tmp_path / "two", command_environment, *case, "trainer=ddp", "trainer.accelerator=cpu")
    assert together == pytest.approx(alone, abs=1e-5)
    assert two["images"] == one["images"]
    assert one["images"]["test"] == (10_000 if "data=fashion" in case else 63)
    assert len(alone) == (60 if "data=fashion" in case else -(-one["images"]["train"] // 57))
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, abs=2e-4 if name.endswith("loss") else 2 / 63), name
    assert two["per_class_accuracy"] == pytest.approx(one["per_class_accuracy"], abs=0.02)


@pytest.mark.long
def test_two_processes_end_together_at_a_signal_and_go_on_after(
    tmp_path: Path, command_environment: dict[str, str]
) -> None:
    settings = (*COMMON[:2], *COMMON[4:6], "data=digits", "augment=affine", "trainer.max_epochs=20", "logger=none")
    ddp = ("trainer=ddp", "trainer.accelerator=cpu")

    def command(folder: Path, *overrides: str) -> list[str]:
        return [sys.executable, "-m", "lenet_pl.train", f"run={folder}", *ddp, *settings, *overrides]

    with subprocess.Popen(
        command(tmp_path / "stopped"), env=command_environment, stderr=subprocess.PIPE, text=True
    ) as run:
        while not (tmp_path / "stopped" / "checkpoints" / "last.ckpt").exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.terminate()
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 143
    assert errors.splitlines()[-1].startswith("error: interrupted")
    for folder, more in (("stopped", ["resume=true"]), ("straight", [])):
        subprocess.run(command(tmp_path / folder, *more), env=command_environment, check=True, timeout=200)
    one, other = (
        torch.load(tmp_path / f / "checkpoints" / "last.ckpt", weights_only=True) for f in ("stopped", "straight")
    )
    assert one["global_step"] == other["global_step"]
    for name, weights in one["state_dict"].items():
        assert torch.equal(weights, other["state_dict"][name]), name


@pytest.mark.slow
def test_devices_are_refused_where_they_would_repeat_the_sweep(
    tmp_path: Path, command_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "lenet_pl.train", "-m", f"run={tmp_path / 'sweep'}", "trainer=ddp", "seed=0,1"]
    done = subprocess.run(command, env=command_environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    lines = [
        line
        for line in done.stderr.splitlines()
        if "trainer.devices: got 2, which would repeat the whole --multirun" in line
    ]
    assert len(lines) == 2
    assert not list(tmp_path.rglob("config.yaml"))
