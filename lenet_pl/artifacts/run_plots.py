"""Figures of a run: training images, augmentation, learning curves, filters, confusion matrix, mistakes."""

from collections.abc import Callable

import torch

from lenet_pl.artifacts.augmentation_plot import augments, draw_augmentation
from lenet_pl.artifacts.metrics import ClassificationMetrics
from lenet_pl.artifacts.plots import describe_mistakes, draw_confusion, draw_curves, draw_samples
from lenet_pl.attribution.feature_maps import draw_layers
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.display.figure import Figure
from lenet_pl.display.text import label
from lenet_pl.engine.metrics_history import MetricsHistory
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.settings.types import Report

LIGHT = ("curves.png", "confusion_matrix.png")
SAMPLES = 32  # images in a figure of samples or mistakes

Draw = Callable[[], dict[str, Figure]]


def pictures_of(
    data: ImageDataModule,
    task: ImageClassifier,
    recorder: MetricsHistory,
    scores: ClassificationMetrics | None,
    model: str,
    report: Report = "full",
) -> dict[str, Draw]:
    """List the figures of a run as functions that draw them.

    Args:
        data: The data module of the run.
        task: The classifier.
        recorder: The metrics of every epoch. Without epochs there are no learning curves.
        scores: The metrics on the test split; None for a run without test, whose mistakes are not drawn.
        model: The name of the model, for headings.
        report: Which figures: all, those of `LIGHT`, or none.

    Returns:
        Functions that return figures by their file names without suffix. The keys name the files in error notes.
    """
    drawn: dict[str, Draw] = {
        "samples.png": lambda: {"samples": _draw_samples(data)},
        "filters.png or feature_maps.png": lambda: draw_layers(
            task.model, data.preprocess, _some_training_images(data).images[0], model
        ),
    }
    if augments(data):
        drawn["augmentation.png"] = lambda: {"augmentation": draw_augmentation(data, _some_training_images(data, 8))}
    if recorder.epochs:
        drawn["curves.png"] = lambda: {"curves": draw_curves(recorder.epochs, recorder.step_losses)}
    if scores:
        drawn["confusion_matrix.png"] = lambda: {
            "confusion_matrix": draw_confusion(scores.confusion, data.classes, "confusion matrix, test images")
        }
        drawn["misclassified.png"] = lambda: {"misclassified": _draw_mistakes(data, scores)}
    chosen = {"full": drawn.keys(), "light": LIGHT, "none": ()}[report]
    return {what: draw for what, draw in drawn.items() if what in chosen}


def _draw_samples(data: ImageDataModule) -> Figure:
    shown = _some_training_images(data)
    return draw_samples(shown.images, [label(data.classes[k]) for k in shown.labels.tolist()], "training images")


def _draw_mistakes(data: ImageDataModule, scores: ClassificationMetrics) -> Figure:
    names, mistakes = data.classes, scores.mistakes(SAMPLES)
    images = data.test_set[torch.tensor([m.index for m in mistakes], dtype=torch.int64)].images
    return draw_samples(images, describe_mistakes(mistakes, names), "test images, most confident mistakes")


def _some_training_images(data: ImageDataModule, count: int = SAMPLES) -> ImageDataset:
    """Choose images at random, since image folders are sorted by class."""
    order = torch.randperm(len(data.train_set), generator=torch.Generator().manual_seed(0))
    return data.train_set[order[:count]]
