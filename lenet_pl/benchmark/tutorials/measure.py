"""Training of each recipe with the tutorial's loop and with lenet_pl. What is finished is kept and not repeated."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.benchmark.loops import LENET_PL, TUTORIAL
from lenet_pl.benchmark.tutorials.loop import Images, train_tutorial
from lenet_pl.benchmark.tutorials.recipes import RECIPES, Recipe
from lenet_pl.benchmark.tutorials.tables import write_comparison
from lenet_pl.benchmark.worker import Workers
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.display.text import as_json
from lenet_pl.engine.build import build_datamodule
from lenet_pl.errors import DataError
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings, TutorialSource
from lenet_pl.settings.compose import compose
from lenet_pl.train import train


class Do(Protocol):
    """A function that calls another one, in the process of a loop."""

    def __call__(self, loop: str, work: Callable[..., Any], /, *given: Any) -> Any:
        """Call `work` with the given arguments, and return its result."""


def measure_tutorials(settings: BenchmarkSettings) -> dict[str, Any]:
    """Train every recipe of `tutorial_recipes` with `seeds` seeds, and write the comparison after each training.

    Args:
        settings: The settings of the benchmark. `tutorials_dir` receives a run folder for each training of lenet_pl, a
            small JSON file for each finished training, and the comparison: tutorials.json, .md and .png.

    Returns:
        What `write_comparison` returns.
    """
    with Workers(settings.num_threads) as workers:
        return train_all(settings, workers.do)


def train_all(settings: BenchmarkSettings, do: Do) -> dict[str, Any]:
    """Train what is not finished yet; `do` calls a function in the process of a loop."""
    folder = Path(settings.tutorials_dir)
    (folder / "results").mkdir(parents=True, exist_ok=True)
    missing: dict[str, str] = {}
    found = write_comparison(folder, missing, settings.cifar10_folder)
    for recipe in (RECIPES[name] for name in settings.tutorial_recipes):
        for seed in range(settings.seeds):
            for source in settings.tutorial_sources:
                file = folder / "results" / f"{recipe.name}.{source}.{seed}.json"
                if recipe.name in missing or file.exists() or (source == "fixed" and not recipe.fixed):
                    continue
                log_progress(f"tutorials: {recipe.name}, {source}, seed {seed}")
                try:
                    result = do(
                        TUTORIAL if source == "tutorial" else LENET_PL, _train, settings, recipe.name, source, seed
                    )
                except DataError as error:
                    missing[recipe.name] = str(error)
                else:
                    write_text(file, as_json(result | {"recipe": recipe.name, "source": source, "seed": seed}))
                found = write_comparison(folder, missing, settings.cifar10_folder)
    return found


def _train(settings: BenchmarkSettings, name: str, source: TutorialSource, seed: int) -> dict[str, Any]:
    recipe = RECIPES[name]
    if source == "tutorial":
        result = train_tutorial(recipe, *read_images(training(settings, recipe, name, seed)), seed)
        return {key: value for key, value in result.items() if key != "losses"}
    experiment = recipe.fixed if source == "fixed" else name
    assert experiment
    return train_own(training(settings, recipe, experiment, seed), Path(settings.tutorials_dir, experiment))


def train_own(settings: TrainSettings, folder: Path) -> dict[str, Any]:
    """Train with lenet_pl, or read the results of a run that is finished; a stopped run is resumed."""
    place = folder / f"seed_{settings.seed}"
    if (place / "results.json").exists():
        results = json.loads((place / "results.json").read_text(encoding="utf-8"))
    else:
        place.mkdir(parents=True, exist_ok=True)
        with contextlib.redirect_stdout(io.StringIO()):
            results = train(settings, place)
    return {
        "test_accuracy": results["metrics"]["test/accuracy"],
        "seconds": results["training_seconds"],
        "epochs": results["epochs"],
        "best_epoch": results["best_epoch"],
        "precision": results["precision"],
    }


def training(settings: BenchmarkSettings, recipe: Recipe, experiment: str, seed: int) -> TrainSettings:
    """Compose the settings of a training of lenet_pl, whose dataset is also that of the tutorial's loop."""
    overrides = ["run=unused", f"experiment={experiment}", f"seed={seed}", "resume=auto"]
    overrides += [f"data_root={settings.data_root}", "trainer.accelerator=cpu", "callbacks.progress_bar=false"]
    overrides += [f"trainer.num_threads={settings.num_threads}"] if settings.num_threads else []
    if recipe.data == "cifar10" and settings.cifar10_folder:
        overrides += ["data=folder", f"data.path={settings.cifar10_folder}", "data.split.val_size=5000"]
    else:
        overrides += ["data.download=false"]
    return compose("train", TrainSettings, overrides)


def read_images(settings: TrainSettings) -> tuple[Images, Images]:
    """Read the training and the test images of a dataset, in the order of its files."""
    source = build_datamodule(settings).source
    return as_arrays(source.train), as_arrays(source.test)


def as_arrays(images: ImageDataset) -> Images:
    """Convert uint8 of shape (N, C, H, W) to the form of `Images`."""
    pixels: Tensor = images.images.permute(0, 2, 3, 1)
    array = pixels.numpy()
    return Images(np.ascontiguousarray(array[..., 0] if array.shape[3] == 1 else array), images.labels)
