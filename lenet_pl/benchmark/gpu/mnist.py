"""Time to 99% on MNIST on a GPU: the recipe `mnist_99_fast` with lenet_pl, and as one CUDA graph.

As in tuomaso/train_mnist_fast, loading the data to the device, compiling and capturing do not count.
"""

import time
from dataclasses import dataclass
from functools import partial
from statistics import mean, median, stdev
from typing import Any

import torch

from lenet_pl.benchmark.compare_loops import first_available_dataset, log_progress
from lenet_pl.benchmark.gpu.kernels import look_into_step
from lenet_pl.benchmark.gpu.rates import timed
from lenet_pl.benchmark.gpu.steps import NO_GRAPH, Bench, attempt, fit, switches
from lenet_pl.benchmark.gpu.training import WholeTraining
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule
from lenet_pl.settings import TrainSettings

GOAL = 0.99


@dataclass(frozen=True)
class Candidate:
    """A variant of the recipe.

    Attributes:
        batch_size: The number of images per step.
        epochs: The number of epochs.
        lr: The peak learning rate.
        dtype: The dtype of autocast; None for fp32 without autocast.
        compiled: Whether torch.compile compiles the computation of the loss.
        channels_last: Whether images and weights are in channels-last format.
        drop_last: Whether the smaller last batch of an epoch is dropped.
    """

    batch_size: int = 128
    epochs: int = 3
    lr: float = 0.008
    dtype: torch.dtype | None = None
    compiled: bool = False
    channels_last: bool = True
    drop_last: bool = False

    @property
    def name(self) -> str:
        """The name of the variant in the table."""
        more = (", bf16" if self.dtype else "") + (", torch.compile" if self.compiled else "")
        more += ("" if self.channels_last else ", channels first") + (", drop_last" if self.drop_last else "")
        return f"batch {self.batch_size}, {self.epochs} epochs, lr {self.lr:g}{more}"


# The recipe comes first. The others have fewer or cheaper steps
CANDIDATES = (
    Candidate(),
    Candidate(512, 3, 0.02),
    Candidate(512, 3, 0.02, compiled=True, drop_last=True),
    Candidate(1024, 4, 0.03, compiled=True, drop_last=True),
    Candidate(1024, 4, 0.03),
    Candidate(512, 3, 0.02, torch.bfloat16),
    Candidate(channels_last=False),
)


def measure(bench: Bench, record: dict[str, Any]) -> None:
    """Train the recipe and its variants with several seeds, and profile one step."""
    recipe = ["experiment=mnist_99_fast", "logger=none"]
    if first_available_dataset(bench.settings, ["mnist"]) is not None:
        recipe += ["data=mnist", "data.download=false"]
    elif bench.settings.gpu_amount != "small":
        record["not_measured"] = f"no MNIST in {bench.settings.data_root}; set data_root= or LENET_PL_DATA"
        return
    given = bench.given(*recipe, "trainer.deterministic=false")
    data = build_datamodule(given)
    attempt(record, "lenet_pl", lambda: _train_own(bench, given, data))
    if bench.device.type == "cuda":
        record["candidates"] = rows = []
        if bench.amount.kernels:
            attempt(record, "step", lambda: look_into_step(bench, given, data))
        for candidate in CANDIDATES[: bench.amount.candidates]:
            attempted: dict[str, Any] = {}
            attempt(attempted, candidate.name, partial(_train_graph, bench, given, data, candidate))
            rows.append({"name": candidate.name, **attempted[candidate.name]})
    else:
        record["candidates"] = [{"name": CANDIDATES[0].name, "not_measured": NO_GRAPH}]


def _train_graph(bench: Bench, given: TrainSettings, data: ImageDataModule, candidate: Candidate) -> dict[str, Any]:
    trainer = given.trainer.model_copy(update={"max_epochs": candidate.epochs})
    loader = given.loader.model_copy(update={"batch_size": candidate.batch_size, "drop_last": candidate.drop_last})
    optimizer = given.optimizer.model_copy(update={"lr": candidate.lr})
    setting = given.model_copy(update={"trainer": trainer, "loader": loader, "optimizer": optimizer})
    with switches(fast=True):
        begin = time.perf_counter()
        training = WholeTraining(
            setting, data, bench.device, candidate.dtype, candidate.compiled, candidate.channels_last
        )
        training.run(0)
        prepared = time.perf_counter() - begin
        validation = data.validation_set.to(bench.device)
        seconds, tested, validated = [], [], []
        for seed in range(bench.amount.graph_seeds):
            seconds.append(training.run(seed))
            tested.append(training.accuracy(training.test))
            validated.append(training.accuracy(validation))
        scoring = timed(lambda: training.accuracy(training.test), bench)
    log_progress(f"    {median(seconds):.4f} s, test accuracy {mean(tested):.4f}")
    return {
        "steps": len(training.losses),
        "seeds": len(tested),
        "seconds": round(median(seconds), 5),
        "slowest": round(max(seconds), 5),
        "test_accuracy": round(mean(tested), 5),
        "sd": round(stdev(tested), 5),
        "lowest": round(min(tested), 5),
        "validation_accuracy": round(mean(validated), 5),
        "share_of_runs_at_99": sum(accuracy >= GOAL for accuracy in tested) / len(tested),
        "prepared_seconds": round(prepared, 2),
        "scoring_seconds": round(scoring, 5),
    }


def _train_own(bench: Bench, given: TrainSettings, data: ImageDataModule) -> dict[str, Any]:
    """Train with lenet_pl, after a discarded first run. As with the graphs, the weights of the last step are tested."""
    runs = []
    for seed in range(-1, bench.amount.own_seeds):
        setting = given.model_copy(update={"seed": max(0, seed)})
        trainer, task = fit(setting, bench.folder / f"mnist{seed}", data.with_seed(setting.seed))
        recorder: Any = next(c for c in trainer.callbacks if type(c).__name__ == "MetricsHistory")  # type: ignore[attr-defined]
        (scores,) = trainer.test(task, data, verbose=False)
        seconds = round(sum(row["seconds"] for row in recorder.epochs), 3)
        runs.append({"seed": setting.seed, "seconds": seconds, "accuracy": round(scores["test/accuracy"], 5)})
    runs = runs[1:]
    return {
        "runs": runs,
        "seconds": round(median(run["seconds"] for run in runs), 3),
        "test_accuracy": round(mean(run["accuracy"] for run in runs), 5),
    }
