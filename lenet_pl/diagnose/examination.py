"""All measurements of a run, before anything is concluded from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lenet_pl.data.image_digests import digest_images
from lenet_pl.diagnose.labels import LabelAgreement, measure_labels
from lenet_pl.diagnose.layers import LayerStatistics, measure_layers
from lenet_pl.diagnose.lr_range import LearningRateRange, find_lr_range
from lenet_pl.diagnose.recorded_run import RecordedRun, sample
from lenet_pl.diagnose.trial import IMAGES, Score, Trial, score, train_briefly
from lenet_pl.settings.diagnose import DiagnoseSettings

NEIGHBORS = 4000  # images that are compared with each other; a tenth of a second
DIGESTS = 20_000  # images of a split that are compared with those of the other
SHARE = 0.25  # part of the time budget for the repetition of the run, which every other training is compared with


@dataclass(frozen=True)
class InputStatistics:
    """Statistics of a channel of the preprocessed training images, and the standard deviation of its gray levels."""

    mean: float
    std: float
    stored_std: float


@dataclass(frozen=True)
class Examination:
    """What was measured.

    Attributes:
        run: The run.
        replay: The first steps of the training again.
        lr_range: The learning-rate range test; None if the loss never fell in it, or no test was possible.
        layers_at_start: The activations of validation images with the initial weights.
        layers: The same with those of the last epoch, or after the replay without a checkpoint.
        train: The score of the network of the last epoch, or after the replay, on training images.
        validation: The same on validation images.
        train_images: How many training images `train` is about.
        inputs: The statistics of each channel.
        labels: Whether similar images have the same label; None for fewer than 100 images.
        class_counts: The number of training images of each class.
        classes_per_batch: The mean number of different classes in a batch of the first epoch, if not shuffled.
        classes_expected: The same for batches drawn at random.
        copies: The number of validation images, of `compared`, that equal a training image pixel by pixel.
        compared: The number of validation images that were compared.
    """

    run: RecordedRun
    replay: Trial
    lr_range: LearningRateRange | None
    layers_at_start: list[LayerStatistics]
    layers: list[LayerStatistics]
    train: Score
    validation: Score
    train_images: int
    inputs: list[InputStatistics]
    labels: LabelAgreement | None
    class_counts: list[int]
    classes_per_batch: float
    classes_expected: float
    copies: int
    compared: int

    @property
    def recorded_accuracy(self) -> float | None:
        """The best validation accuracy in the run folder; None without one."""
        return self.run.best_accuracy

    @property
    def best_accuracy(self) -> float:
        """The best validation accuracy of the run or of its repetition."""
        return max(self.replay.validation.accuracy, self.recorded_accuracy or 0.0)


def examine(
    run: RecordedRun, settings: DiagnoseSettings, tell: Callable[[str], None], signals: Any = None
) -> Examination:
    """Measure everything that needs no suspicion.

    Args:
        run: The run.
        settings: The settings of the command.
        tell: A function that prints a line about the progress.
        signals: The signal handler of the process.
    """
    steps = min(settings.max_steps, run.planned_steps)
    tell(f"repeating the first {steps:,} of {run.planned_steps:,} steps")
    replay = train_briefly(run, steps, seconds=SHARE * settings.time_budget, signals=signals)
    tell("learning-rate range test")
    lr_range = find_lr_range(run, signals)
    tell("layers, inputs and labels")
    data = run.data
    held_out, seen = sample(data.validation_set, IMAGES, "diagnose"), sample(data.train_set, IMAGES, "diagnose")
    few = held_out[slice(0, 500)].images
    _, start = run.build(*run.changed({}))
    network = run.network or replay.network
    dtype = next(network.parameters()).dtype
    labels = sample(data.train_set, NEIGHBORS, "neighbors")
    per_batch, expected = classes_per_batch(data.train_set.labels, run.settings.loader.batch_size, data.num_classes)
    copies, compared = count_copies(run)
    return Examination(
        run,
        replay,
        lr_range,
        measure_layers(start.model.eval(), data.preprocess(few).to(next(start.model.parameters()).dtype)),
        measure_layers(network, data.preprocess(few).to(dtype)),
        score(network, data.preprocess, seen),
        score(network, data.preprocess, held_out),
        len(seen),
        input_statistics(run),
        measure_labels(labels.images, labels.labels, data.num_classes) if len(labels) >= 100 else None,
        torch.bincount(data.train_set.labels, minlength=data.num_classes).tolist(),
        expected if run.settings.loader.shuffle else per_batch,
        expected,
        copies,
        compared,
    )


def input_statistics(run: RecordedRun) -> list[InputStatistics]:
    """Measure mean and standard deviation of each channel of the training images, as stored and as inputs."""
    pixels = sample(run.data.train_set, IMAGES, "diagnose").images
    inputs = run.data.preprocess(pixels).transpose(0, 1).flatten(1)
    stored = pixels.float().transpose(0, 1).flatten(1).std(1).tolist()
    return [InputStatistics(*row) for row in zip(inputs.mean(1).tolist(), inputs.std(1).tolist(), stored, strict=True)]


def classes_per_batch(labels: Tensor, batch_size: int, num_classes: int) -> tuple[float, float]:
    """Count the different classes in a batch: the mean over whole batches in this order, and its expectation at random.

    Args:
        labels: The classes of the training images in the order of the dataset, int64 (N,).
        batch_size: The number of images in a batch.
        num_classes: The number of classes, K.
    """
    size = min(batch_size, len(labels))
    batches = labels[: len(labels) // size * size].view(-1, size)
    there = torch.zeros(len(batches), num_classes).scatter_(1, batches, 1.0)
    share = torch.bincount(labels, minlength=num_classes).double() / len(labels)
    return float(there.sum(1).mean()), float((1 - (1 - share) ** size).sum())


def count_copies(run: RecordedRun) -> tuple[int, int]:
    """Count validation images whose pixels equal those of a training image, and how many were compared."""
    held_out = sample(run.data.validation_set, DIGESTS, "digests")
    train, found = (
        digest_images(part.images.contiguous().numpy()) if part.contents is None else part.contents
        for part in (run.data.train_set, held_out)
    )
    return int(torch.isin(found, train).sum()), len(held_out)
