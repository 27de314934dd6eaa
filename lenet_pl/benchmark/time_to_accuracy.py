"""Time to 99% test accuracy on MNIST, with the recipe `mnist_99_fast` and with the tutorial loop."""

import contextlib
import io
import tempfile
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from torch import nn

from lenet_pl.benchmark.compare_loops import log_progress, train_settings
from lenet_pl.benchmark.loops import LENET_PL, TUTORIAL, Workload, tutorial_loop
from lenet_pl.benchmark.worker import Workers
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose
from lenet_pl.train import train

GOAL = 0.99
MOST_EPOCHS = 10  # limit of the tutorial loop; if it does not reach the goal, its time is a lower bound
TUTORIAL_BATCH = 64  # the batch size of most tutorials


def time_to_accuracy(settings: BenchmarkSettings) -> dict[str, Any]:
    """Train the recipe with `settings.seeds` seeds, and alternately the tutorial loop until its test accuracy is 99%.

    The recipe has a fixed number of epochs and uses the test split once. The tutorial loop is evaluated on the test
    split after each epoch to stop it in time, which favors it. The evaluations do not count as training time.

    Args:
        settings: The settings of the benchmark.

    Returns:
        The training time in seconds and the test accuracy of each run, medians and means, and the ratio of the median
        times.
    """
    tutorial: list[dict[str, float]] = []
    recipe: list[dict[str, float]] = []
    with Workers(settings.num_threads) as workers:
        for seed in range(settings.seeds):
            log_progress(f"99% on MNIST: mnist_99_fast, seed {seed}")
            recipe.append(workers.do(LENET_PL, _recipe, settings, seed))
            if seed % max(1, settings.seeds // settings.tutorial_runs) == 0 and len(tutorial) < settings.tutorial_runs:
                log_progress(f"99% on MNIST: tutorial loop, seed {seed}")
                tutorial.append(workers.do(TUTORIAL, _tutorial, settings, seed))
    accuracies = [run["accuracy"] for run in recipe]
    reached = [run for run in tutorial if run["accuracy"] >= GOAL]
    return {
        "recipe": recipe,
        "recipe_accuracy": round(mean(accuracies), 5),
        "recipe_accuracy_sd": round(stdev(accuracies), 5) if len(accuracies) > 1 else None,
        "recipe_seconds": round(median(run["seconds"] for run in recipe), 2),
        "tutorial": tutorial,
        "tutorial_seconds": round(median(run["seconds"] for run in tutorial), 2),
        "tutorial_reached": len(reached),
        "tutorial_most_epochs": MOST_EPOCHS,
        "ratio": round(median(r["seconds"] for r in tutorial) / median(r["seconds"] for r in recipe), 2),
    }


def _recipe(settings: BenchmarkSettings, seed: int) -> dict[str, float]:
    overrides = ["experiment=mnist_99_fast", f"data_root={settings.data_root}", f"seed={seed}", "data.download=false"]
    overrides += [f"trainer.num_threads={settings.num_threads}"] if settings.num_threads else []
    given = compose("train", TrainSettings, ["run=unused", "trainer.accelerator=cpu", *overrides])
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        results = train(given, Path(place))
    return {"seconds": results["training_seconds"], "accuracy": results["metrics"]["test/accuracy"], "seed": seed}


def _tutorial(settings: BenchmarkSettings, seed: int) -> dict[str, float]:
    given = train_settings(settings, "mnist", "lenet5", "none", TUTORIAL_BATCH)
    data = build_datamodule(given)
    torch.manual_seed(seed)
    model = build_task(given, data).model.train()
    run = tutorial_loop(model, Workload.from_data(data, TUTORIAL_BATCH))
    seconds = accuracy = 0.0
    epochs = 0
    while accuracy < GOAL and epochs < MOST_EPOCHS:
        seconds += run(len(data.train_set))
        accuracy = _accuracy(model, data)
        epochs += 1
    return {"seconds": round(seconds, 2), "accuracy": round(accuracy, 6), "epochs": epochs, "seed": seed}


def _accuracy(model: nn.Module, data: ImageDataModule) -> float:
    start = time.perf_counter()
    model.eval()
    with torch.inference_mode():
        parts = [data.test_set[slice(at, at + 1000)] for at in range(0, len(data.test_set), 1000)]
        right = sum(int((model(data.preprocess(p.images)).argmax(1) == p.labels).sum()) for p in parts)
    model.train()
    seconds = time.perf_counter() - start
    log_progress(f"  test accuracy {right / len(data.test_set):.4f} ({seconds:.1f} s to evaluate, not counted)")
    return right / len(data.test_set)
