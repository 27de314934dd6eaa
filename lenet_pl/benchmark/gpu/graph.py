"""The CUDA graph of lenet_pl: equality with steps one by one, repetition, resume, and waits for the device."""

import signal
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lenet_pl.benchmark.gpu.choices import count_synchronizations
from lenet_pl.benchmark.gpu.equality import differences
from lenet_pl.benchmark.gpu.steps import NO_GRAPH, Bench, attempt, fit, switches
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.runtime.signals import Interruption, SignalHandler

RUN = ("data=digits", "loader.batch_size=32", "callbacks=no_early_stopping")  # 102 steps or more in three epochs
CASES: dict[str, tuple[str, ...]] = {
    "lenet5": ("model=lenet5",),
    "lenet_bn, affine, EMA, clipping, cosine": (
        "model=lenet_bn",
        "augment=affine",
        "callbacks.ema.decay=0.9",
        "trainer.gradient_clip_val=0.5",
        "scheduler=cosine",
    ),
    "SGD, bf16": ("model=lenet5_bn", "optimizer=sgd", "trainer.precision=bf16-mixed"),
    "onecycle with momentum": ("model=lenet5", "scheduler=onecycle", "scheduler.cycle_momentum=true"),
}
RESUMED = "lenet_bn, affine, EMA, clipping, cosine"


class StopAfter(SignalHandler):
    """Signal handler that interrupts a training after a number of steps.

    Args:
        checks: The number of checks, of which the fast path makes one after each step but the last of an epoch.
    """

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interruption(signal.SIGTERM, resumable=True)


def measure(bench: Bench, record: dict[str, Any]) -> None:
    """Compare trainings with and without the graph, repeat and resume one, and count the waits of both."""
    if bench.device.type != "cuda":
        record["not_measured"] = NO_GRAPH
        return
    with switches():
        record["equal"] = {}
        for name, words in CASES.items():
            attempt(record["equal"], name, partial(compare_graph, bench, words))
        attempt(record, "repeated", lambda: repeat_and_resume(bench))
        attempt(record, "waits", lambda: count_synchronizations(bench, cuda_graph=True))
        attempt(record, "waits without", lambda: count_synchronizations(bench))


def compare_graph(bench: Bench, words: tuple[str, ...]) -> dict[str, Any]:
    """Compare a deterministic training with and without the graph.

    Returns:
        The number of steps, the places in weights, optimizer state and losses that differ in their bits, and the
        largest absolute difference of a weight.
    """
    found = [_train(bench, bench.folder / "graph", words, cuda_graph=graph)[0] for graph in (False, True)]
    one, other = (state["weights"] for state in found)
    apart = max(float((one[name].double() - other[name].double()).abs().max()) for name in one)
    steps = len(found[0]["losses"])
    return {"steps": steps, "differences": differences(found[0], found[1]), "largest_weight_difference": apart}


def repeat_and_resume(bench: Bench) -> dict[str, Any]:
    """Repeat a training in the graph, and resume it in the graph and without it.

    Returns:
        For each, the places in weights, optimizer state and losses that differ in their bits from the first training.

    Raises:
        RuntimeError: If the training is not interrupted.
    """
    words, folder = CASES[RESUMED], bench.folder / "repeated"
    straight, data = _train(bench, folder, words)
    again, _ = _train(bench, folder, words, data=data)
    stopped = len(straight["losses"]) // 2 + 2  # in the middle of an epoch
    try:
        _train(bench, folder, words, data=data, signals=StopAfter(stopped))
        raise RuntimeError("the training was not interrupted")
    except Interruption:
        last = folder / "stopped.ckpt"
        (folder / "checkpoints" / "last.ckpt").rename(last)
    resumed, _ = _train(bench, folder, words, data=data, resume=last)
    without, _ = _train(bench, folder, words, data=data, resume=last, cuda_graph=False)
    return {
        "deterministic_twice": differences(straight, again),
        "resumed": differences(straight, resumed),
        "resumed_without_graph": differences(straight, without),
    }


def _train(
    bench: Bench,
    folder: Path,
    words: tuple[str, ...],
    *,
    cuda_graph: bool = True,
    data: ImageDataModule | None = None,
    **more: Any,
) -> tuple[dict[str, Any], ImageDataModule]:
    """Train, and return the final state on the CPU, and the data for another training."""
    amount = bench.amount
    limits = (f"trainer.max_epochs={amount.epochs}", f"trainer.limit_train_batches={amount.epoch_steps}")
    graph = (
        f"trainer.cuda_graph={str(cuda_graph).lower()}" if bench.device.type == "cuda" else "trainer.cuda_graph=auto"
    )
    given = bench.given(*RUN, *limits, graph, *words)
    data = data or build_datamodule(given)
    trainer, task = fit(given, folder, data, **more)
    assert isinstance(task, ImageClassifier)
    history: Any = next(c for c in trainer.callbacks if type(c).__name__ == "MetricsHistory")  # type: ignore[attr-defined]
    weights = {name: value.cpu() for name, value in task.state_dict().items()}
    state = _on_cpu(trainer.optimizers[0].state_dict())
    return {"weights": weights, "optimizer": state, "losses": history.step_losses}, data


def _on_cpu(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _on_cpu(value) for key, value in state.items()}
    if isinstance(state, list):
        return [_on_cpu(value) for value in state]
    return state.cpu() if isinstance(state, torch.Tensor) else state
