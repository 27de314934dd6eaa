"""Equality of trainings on the GPU: with the CPU, between repetitions, and after a resume."""

import contextlib
import io
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

from lenet_pl.benchmark.gpu.choices import try_choices, try_commands
from lenet_pl.benchmark.gpu.steps import Bench, attempt, fit, switches
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule
from lenet_pl.runtime.signals import Interruption
from lenet_pl.train import train

COMPARED = 50  # number of first steps whose largest difference is reported separately


def measure(bench: Bench, record: dict[str, Any]) -> None:
    """Compare losses and accuracy with the CPU and runs with each other, and try the choices of the config groups."""
    torch.use_deterministic_algorithms(False)
    small = replace(bench, data="digits")  # loads fast
    data = build_datamodule(bench.given("augment=affine"))
    attempt(record, "losses, tf32 off", lambda: compare_losses(bench, data, "lenet5", tf32=False))
    attempt(record, "losses, torch's defaults", lambda: compare_losses(bench, data, "lenet5", tf32=None))
    attempt(record, "accuracy with dropout", lambda: compare_losses(bench, data, "lenet_bn", tf32=False))
    attempt(record, "runs", lambda: compare_runs(small))
    attempt(record, "commands", lambda: try_commands(small, bench.folder / "straight"))
    record["choices"] = {}
    try_choices(small, record["choices"])


class Losses(lightning.Callback):
    """Callback that keeps the training loss of every step and the latest validation accuracy."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.accuracy = 0.0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        pl_module.score_training()
        self.losses += [float(loss) for loss in pl_module.step_losses]
        self.accuracy = round(float(trainer.callback_metrics["val/accuracy"]), 6)


def compare_losses(bench: Bench, data: ImageDataModule, model: str, tf32: bool | None) -> dict[str, Any]:
    """Compare the losses of the same training on the CPU and on the device.

    With dropout, they differ, because the random numbers of the two devices do.

    Args:
        bench: The parameters of the step.
        data: The data of both trainings.
        model: The choice of the config group `model`.
        tf32: Whether products and convolutions use TF32; None for torch's defaults.

    Returns:
        The relative differences of the losses in the first step, the largest of the first steps and of all steps, and
        both validation accuracies.
    """
    found: dict[str, Losses] = {}
    for kind in ("cpu", bench.accelerator):
        given = bench.given(*_short(bench), "augment=affine", f"model={model}", f"trainer.accelerator={kind}")
        found[kind] = Losses()
        with switches(tf32=tf32):
            fit(given, bench.folder / "losses", data, [found[kind]])
    here, there = found["cpu"], found[bench.accelerator]
    apart = [abs(a - b) / abs(a) for a, b in zip(here.losses, there.losses, strict=True)]
    return {
        "steps": len(here.losses),
        "first_step": apart[0],
        f"first_{COMPARED}": max(apart[:COMPARED]),
        "all": max(apart),
        "cpu_accuracy": here.accuracy,
        "device_accuracy": there.accuracy,
    }


def compare_runs(bench: Bench) -> dict[str, Any]:
    """Check runs for bitwise equality: two deterministic ones, two others, and an interrupted and resumed one.

    Args:
        bench: The parameters of the step.

    Returns:
        For each pair, the places in the checkpoints that differ, and the step of the interruption.

    Raises:
        RuntimeError: If the training is not interrupted.
    """
    words = (*_short(bench), "loader.batch_size=10", "model=lenet_bn", "augment=affine")
    given, free = bench.given(*words), bench.given(*words, "trainer.deterministic=false")
    with switches(), contextlib.redirect_stdout(io.StringIO()):
        for name, settings in (("straight", given), ("again", given), ("free", free), ("free again", free)):
            train(settings, _new(bench.folder / name))
        stopped = _new(bench.folder / "stopped")
        step = bench.amount.epoch_steps + bench.amount.epoch_steps // 2
        try:
            train(given, stopped, [_StopAfter(step)])
            raise RuntimeError("the training was not interrupted")
        except Interruption:
            pass
        train(given.model_copy(update={"resume": True}), stopped)
    straight = _checkpoint(bench.folder / "straight")
    return {
        "deterministic_twice": differences(straight, _checkpoint(bench.folder / "again")),
        "not_deterministic_twice": differences(
            _checkpoint(bench.folder / "free"), _checkpoint(bench.folder / "free again")
        ),
        "resumed": differences(straight, _checkpoint(stopped)),
        "resumed_at": step,
    }


class _StopAfter(lightning.Callback):
    """Callback that interrupts a run with SIGTERM after a number of optimizer steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        signals: Any = pl_module.signals
        check = signals.check

        def check_after_step() -> None:
            if trainer.global_step == self.step:
                signal.raise_signal(signal.SIGTERM)
            check()

        signals.check = check_after_step


def differences(a: Any, b: Any, place: str = "") -> list[str]:
    """List up to ten places at which two nested states of tensors and values differ in their bits."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a for found in differences(a[key], b[key], f"{place}/{key}")][:10]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [d for i, pair in enumerate(zip(a, b, strict=True)) for d in differences(*pair, f"{place}/{i}")][:10]
    same = torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else type(a) is type(b) and a == b
    return [] if same else [place]


def _short(bench: Bench) -> list[str]:
    amount = bench.amount
    return [f"trainer.max_epochs={amount.epochs}", f"trainer.limit_train_batches={amount.epoch_steps}"]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _checkpoint(folder: Path) -> dict[str, Any]:
    best, last = (
        torch.load(folder / "checkpoints" / f"{name}.ckpt", map_location="cpu", weights_only=True)
        for name in ("best", "last")
    )
    return {"best": best["state_dict"], "last": last["state_dict"], "optimizer": last["optimizer_states"]}
