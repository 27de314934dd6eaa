"""The pictures of a run: what it was trained on, how it went, what came of it."""

from collections.abc import Callable

import torch

from lenet_pl.callbacks import EpochRecorder
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_set import ImageSet
from lenet_pl.explanation.layers import draw_layers
from lenet_pl.figure import Figure
from lenet_pl.pictures import describe_mistakes, draw_confusion, draw_curves, draw_samples
from lenet_pl.scores import Scores
from lenet_pl.task import ImageClassifier
from lenet_pl.text import label

SAMPLES = 32  # images in a picture of samples or mistakes

Draw = Callable[[], dict[str, Figure]]


def pictures_of(
    data: ImageDataModule, task: ImageClassifier, recorder: EpochRecorder, scores: Scores | None, model: str
) -> dict[str, Draw]:
    """List what can be drawn of a run, each drawn when it is called.

    Args:
        data: that it was trained on.
        task: with the network.
        recorder: with the figures of every epoch; those of no epoch are not drawn.
        scores: in the test part; None: it was not tested.
        model: its name.

    Returns:
        By what is told if it fails: a function that returns figures by the names of their files, without an ending.
    """
    drawn: dict[str, Draw] = {
        "samples.png": lambda: {"samples": _draw_samples(data)},
        "filters.png or feature_maps.png": lambda: draw_layers(
            task.model, data.to_input, _some_training_images(data).images[0], model
        ),
    }
    if recorder.epochs:
        drawn["curves.png"] = lambda: {"curves": draw_curves(recorder.epochs, recorder.step_losses)}
    if scores:
        drawn["confusion_matrix.png"] = lambda: {"confusion_matrix": draw_confusion(scores.confusion, data.classes)}
        drawn["misclassified.png"] = lambda: {"misclassified": _draw_mistakes(data, scores)}
    return drawn


def _draw_samples(data: ImageDataModule) -> Figure:
    shown = _some_training_images(data)
    return draw_samples(shown.images, [label(data.classes[k]) for k in shown.labels.tolist()], "training images")


def _draw_mistakes(data: ImageDataModule, scores: Scores) -> Figure:
    names, mistakes = data.classes, scores.mistakes(SAMPLES)
    images = data.test_set[torch.tensor([m.index for m in mistakes], dtype=torch.int64)].images
    return draw_samples(images, describe_mistakes(mistakes, names), "test images, most confident mistakes")


def _some_training_images(data: ImageDataModule) -> ImageSet:
    """Choose as many as a picture shows; a folder's images are sorted by class, and some of each are wanted."""
    order = torch.randperm(len(data.train_set), generator=torch.Generator().manual_seed(0))
    return data.train_set[order[:SAMPLES]]
