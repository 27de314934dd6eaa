"""Checks on the device: choices of the config groups, lines that wait for it, and commands on a trained run."""

import subprocess
import sys
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.benchmark.gpu.steps import NO_GRAPH, Bench, attempt, fit
from lenet_pl.config_files.folders import conf_dir
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule

# Settings that are tried for a few steps each, in addition to all optimizers and schedulers
SETTINGS = {
    "no determinism": ["trainer.deterministic=false"],
    "ema": ["callbacks.ema.decay=0.9"],
    "clipping": ["trainer.gradient_clip_val=1"],
    "label smoothing": ["loss.label_smoothing=0.1"],
    "class weights": ["loss.class_weights=balanced"],
    "map loss": ["model=lenet5_1998", "loss.name=map"],
    "lenet1": ["model=lenet1"],
    "affine, erasing": ["augment=affine", "augment.random_erasing=0.5"],
    "lecun": ["augment=lecun"],
    "cifar": ["augment=cifar"],
    "dropout, batch normalization": ["model=lenet_bn"],
    "average pooling": ["model=lenet_sigmoid_avg"],
    "bf16-mixed": ["trainer.precision=bf16-mixed"],
    "16-mixed": ["trainer.precision=16-mixed"],
    "16-mixed, clipping": ["trainer.precision=16-mixed", "trainer.gradient_clip_val=1"],
    "64-true": ["trainer.precision=64-true"],
}
GROUPS = ("optimizer", "scheduler")
COMPILE = {"compile": ["trainer.compile=default"]}
COMMANDS: dict[str, list[str]] = {
    "evaluate": [],
    "explain": ["num_images=2"],
    "export": ["repeats=1", "num_images=200"],
}


def try_choices(bench: Bench, found: dict[str, Any]) -> None:
    """Train a few steps with every optimizer, scheduler and special setting, and record the failures.

    Args:
        bench: The parameters of the step.
        found: The record, to which the names `tried` and the `failures` by name are added.
    """
    names = [f"{group}={path.stem}" for group in GROUPS for path in sorted((conf_dir() / group).glob("*.yaml"))]
    tried = {name: [name] for name in names} | SETTINGS | (COMPILE if bench.amount.compiled else {})
    if bench.device.type == "cpu":  # has no 16-mixed, and the tests cover all of this there
        tried = {name: tried[name] for name in names[:2]}
    few = ["trainer.max_epochs=2", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1"]
    data = build_datamodule(bench.given())
    found |= {"tried": [], "failures": {}}
    for name, words in tried.items():
        attempted: dict[str, Any] = {}
        attempt(attempted, name, partial(_train_few, bench, [*few, *words], data))
        found["tried"].append(name)
        if attempted[name]:
            found["failures"][name] = attempted[name]


def _train_few(bench: Bench, words: list[str], data: ImageDataModule) -> None:
    """Train on the given data if its image size and augmentation fit the settings, else on newly loaded data."""
    given = bench.given(*words)
    same = given.model.image_size == data.preprocess.image_size and not any("augment" in word for word in words)
    fit(given, bench.folder / "tried", data if same else None)


def count_synchronizations(bench: Bench, *, cuda_graph: bool = False) -> dict[str, Any]:
    """Count the synchronizations with the device per source line, in one epoch with validation.

    Args:
        bench: The parameters of the step.
        cuda_graph: Whether steps are captured as a CUDA graph.

    Returns:
        The number of steps, the numbers of synchronizations of the most frequent lines and of all, and how many more an
        epoch has with each 100 steps more.
    """
    if bench.device.type != "cuda":
        return {"not_measured": NO_GRAPH}
    steps = bench.amount.epoch_steps
    words = ("trainer.max_epochs=1", "trainer.deterministic=false", f"trainer.cuda_graph={str(cuda_graph).lower()}")
    data = build_datamodule(bench.given())
    lines: list[list[str]] = []
    for count in (steps, steps, 2 * steps):  # the first one initializes libraries
        given = bench.given(*words, f"trainer.limit_train_batches={count}")
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                fit(given, bench.folder / "waits", data)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        told = [w for w in seen if "synchronizing" in str(w.message)]
        lines.append([f"{'/'.join(Path(w.filename).parts[-2:])}:{w.lineno}" for w in told])
    _, once, twice = lines
    found = {"steps": steps, "lines": dict(Counter(once).most_common(15)), "all": len(once)}
    return found | {"per_100_steps": round(100 * (len(twice) - len(once)) / steps, 1)}


def try_commands(bench: Bench, run: Path) -> dict[str, Any]:
    """Run commands on a run trained on the device.

    Args:
        bench: The parameters of the step.
        run: The run folder.

    Returns:
        By command, 0 or the exit code and the last line of stderr.
    """
    found: dict[str, Any] = {}
    for name, words in COMMANDS.items():
        log_progress(f"    {name}")
        command = [sys.executable, "-m", f"lenet_pl.{name}", f"run={run}", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        said = (done.stderr.strip().splitlines() or [""])[-1]
        found[name] = 0 if done.returncode == 0 else f"{done.returncode}: {said}"
    return found
