"""Training rates on a GPU: the hand-written loops, steps in CUDA graphs, and lenet_pl."""

import csv
import gc
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import lightning
import torch
from torch import nn

from lenet_pl.benchmark.compare_loops import log_progress, summarize_rates
from lenet_pl.benchmark.gpu.loops import graph_loop
from lenet_pl.benchmark.gpu.steps import NO_GRAPH, Bench, failure, fit, switches
from lenet_pl.benchmark.loops import (
    LENET_PL,
    PLAIN,
    TUNED,
    TUTORIAL,
    TimedRun,
    Workload,
    plain_loop,
    tuned_loop,
    tutorial_loop,
)
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.settings import TrainSettings

GRAPH, MANY = "one CUDA graph a step", "CUDA graph of many steps"
FIRST = "many steps, channels first"
TF32, BF16 = "many steps, TF32", "many steps, bf16"
COMPILED, COMPILED_GRAPH = "tuned, torch.compile", "many steps, torch.compile"
OWN_GRAPH, OWN_STEPS = "lenet_pl, CUDA graph", "lenet_pl, steps alone"
OWN = (LENET_PL, OWN_GRAPH, OWN_STEPS)
ORDINARY = (TUTORIAL, PLAIN)  # run with torch's default switches
SLOW = 2  # minimum number of steps of the tutorial loop per round
MOST_EPOCHS = 12  # maximum number of measured epochs of lenet_pl per round; a single short epoch is too noisy


def measure(bench: Bench, record: dict[str, Any]) -> None:
    """Measure all loops for every model and batch size, and for one case with augmentation."""
    rows: list[dict[str, Any]] = []
    record["rows"] = rows
    cases = [(model, "none", size) for model in bench.amount.models for size in bench.amount.batches]
    cases.insert(len(bench.amount.batches), (bench.amount.models[0], "affine", bench.amount.batches[0]))
    for number, (model, augment, size) in enumerate(cases):
        log_progress(f"  {number + 1} of {len(cases)}: {model}, augment={augment}, batch {size}")
        words = (f"model={model}", f"augment={augment}", f"loader.batch_size={size}", "trainer.deterministic=false")
        rows += _measure_case(bench, bench.given(*words), compiled=bench.amount.compiled and number == 0)
        gc.collect()


def _measure_case(bench: Bench, given: TrainSettings, *, compiled: bool) -> list[dict[str, Any]]:
    data = build_datamodule(given)
    size = given.loader.batch_size
    case = {"model": given.model.name, "augment": "affine" if data.augment.active else "none", "batch_size": size}
    runs: dict[str, TimedRun] = {}
    rows: list[dict[str, Any]] = []
    for name, make in loops(bench, given, data, compiled=compiled).items():
        if bench.device.type == "cpu" and name not in (TUTORIAL, PLAIN, TUNED, LENET_PL):
            rows.append({**case, "loop": name, "not_measured": NO_GRAPH})
            continue
        try:
            with _switches(name):
                run = make()
                if name not in OWN:  # they have a warm-up epoch of their own
                    run(_least(bench, name) * size)
                runs[name] = run
        except Exception as error:
            rows.append({**case, "loop": name, **failure(error)})
    counts = {name: _count(bench, run, name, size) for name, run in runs.items() if name not in OWN}
    counts[LENET_PL] = counts.get(TUNED, size)
    counts[OWN_GRAPH] = counts[OWN_STEPS] = counts.get(GRAPH, size)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(bench.amount.rounds):
        for name, run in list(runs.items()):
            try:
                with _switches(name):
                    rates[name].append(counts[name] / run(counts[name]))
            except Exception as error:  # a training with lenet_pl starts here
                rows.append({**case, "loop": name, **failure(error)})
                del runs[name], rates[name]
    measured = [
        {
            **case,
            "loop": name,
            **summarize_rates(found),
            "step_us": round(1e6 * size / median(found), 1),
            "to_tutorial": _ratio(found, rates.get(TUTORIAL)),
            "to_tuned": _ratio(found, rates.get(TUNED)),
        }
        for name, found in rates.items()
    ]
    return measured + rows


def loops(
    bench: Bench, given: TrainSettings, data: ImageDataModule, *, compiled: bool
) -> dict[str, Callable[[], TimedRun]]:
    """Return a factory per loop.

    Args:
        bench: The parameters of the step.
        given: The settings of the training.
        data: The data of the training.
        compiled: Whether the loops with torch.compile are included.

    Returns:
        By name, a function that prepares the loop with a new network.
    """
    workload, many = Workload.from_data(data, given.loader.batch_size, bench.device), bench.amount.many

    def of(
        loop: Callable[..., TimedRun], change: Callable[[nn.Module], Any] = lambda model: model, **more: Any
    ) -> TimedRun:
        torch.manual_seed(given.seed)
        model = change(build_task(given, data).model.train())
        return loop(model, workload, **more)

    found: dict[str, Callable[[], TimedRun]] = {
        TUTORIAL: partial(of, tutorial_loop),
        PLAIN: partial(of, plain_loop),
        TUNED: partial(of, tuned_loop),
        GRAPH: partial(of, graph_loop),
        MANY: partial(of, graph_loop, steps=many),
        FIRST: partial(of, graph_loop, steps=many, channels_last=False),
        TF32: partial(of, graph_loop, steps=many),
        BF16: partial(of, graph_loop, steps=many, dtype=torch.bfloat16),
    }
    if compiled:
        found[COMPILED] = partial(of, tuned_loop, torch.compile)
        found[COMPILED_GRAPH] = partial(of, graph_loop, steps=many, compiled=True)
    if not bench.settings.tutorial:
        del found[TUTORIAL]
    found[LENET_PL] = lambda: own_loop(bench, given, data)
    found[OWN_GRAPH] = lambda: own_loop(bench, given, data, cuda_graph=True)
    found[OWN_STEPS] = lambda: own_loop(bench, given, data, cuda_graph=True, alone=True)
    return {name: make for name, make in found.items() if name in (bench.amount.loops or found)}


class StepClock(lightning.Callback):
    """Callback that measures the rate of the training steps of each epoch, without what happens at its end.

    On the fast path each chunk ends with a wait for the device.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._begin = self._validation = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._begin, self._validation = time.perf_counter(), 0.0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        seconds = time.perf_counter() - self._begin - self._validation
        pl_module.score_training()
        self.rates.append(pl_module.images_trained / seconds)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._validation -= time.perf_counter()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._validation += time.perf_counter()


def own_loop(
    bench: Bench, given: TrainSettings, data: ImageDataModule, *, cuda_graph: bool = False, alone: bool = False
) -> TimedRun:
    """Prepare a training with lenet_pl. Its time excludes the first epoch and validation, as in `own_rate`.

    Args:
        bench: The parameters of the step.
        given: The settings of the training.
        data: The data of the training.
        cuda_graph: Whether steps are captured as a CUDA graph.
        alone: Whether the time also excludes what happens at the end of an epoch, such as writing the checkpoint.
    """
    folder = bench.folder / "own"
    epoch = len(data.train_set) // given.loader.batch_size

    def run(count: int) -> float:
        steps = max(1, count // given.loader.batch_size)
        epochs = 1 + min(MOST_EPOCHS, -(-steps // epoch))
        few: dict[str, Any] = {"max_epochs": epochs, "limit_train_batches": min(steps, epoch), "limit_val_batches": 1}
        few["cuda_graph"] = cuda_graph
        clock = StepClock()
        # Copied, as composing the settings again is slow. A whole epoch includes its smaller last batch
        fit(given.model_copy(update={"trainer": given.trainer.model_copy(update=few)}), folder, data, [clock])
        if alone:
            return count / median(clock.rates[1:])
        with (folder / "metrics.csv").open() as stream:
            return count / median(float(row["images/s"]) for row in list(csv.DictReader(stream))[1:])

    return run


def _least(bench: Bench, name: str) -> int:
    """Return the minimum number of steps of a loop. Every run takes a multiple of it."""
    return SLOW if name == TUTORIAL else bench.amount.many


def _count(bench: Bench, run: TimedRun, name: str, size: int) -> int:
    """Find the number of images that a loop trains in about the time of a round."""
    least = _least(bench, name)
    with _switches(name):
        trial = run(least * size)
    return max(1, round(bench.amount.seconds / trial)) * least * size


def _ratio(found: list[float], others: list[float] | None) -> float | None:
    return round(median(a / b for a, b in zip(found, others, strict=True)), 3) if others else None


def _switches(name: str) -> Any:
    return switches(tf32=True if name == TF32 else None, fast=name not in (*ORDINARY, *OWN))


def timed(work: Callable[[], object], bench: Bench) -> float:
    """Return the time in seconds until some work is complete on the device."""
    bench.synchronize()
    start = time.perf_counter()
    work()
    bench.synchronize()
    return time.perf_counter() - start
