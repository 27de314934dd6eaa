"""Check whether the trained network is at chance level on the validation images."""

import copy

import torch

from lenet_pl.artifacts.chance import Guess, find_guess
from lenet_pl.artifacts.metrics import ClassificationMetrics
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.loader import limited
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.settings import TrainSettings

CLEARLY_LEARNED = 0.1  # accuracy above the fraction of the most frequent class


def check_chance_level(
    settings: TrainSettings, data: ImageDataModule, task: ImageClassifier, best: dict[str, float]
) -> Guess | None:
    """Test on the validation images whether the best epoch is at chance level, if its accuracy is low.

    Args:
        settings: The training settings.
        data: The data module.
        task: The classifier, with the weights of the best epoch.
        best: The metrics of the best epoch; empty without training, and without accuracy if it was not validated.
    """
    given, loader = settings.trainer, settings.loader
    images, train_images = data.validation_set, len(data.train_set)
    train_limit, val_limit = (given.overfit_batches or n for n in (given.limit_train_batches, given.limit_val_batches))
    batches = limited(-(-train_images // loader.batch_size), train_limit)
    if given.max_steps > 0:
        batches = min(batches, given.max_steps * given.accumulate_grad_batches)
    seen = batches * loader.batch_size
    if "val/accuracy" not in best or 2 * seen < train_images:  # a short trial run
        return None
    frequent = float(torch.bincount(images.labels).max()) / len(images)
    if best["val/accuracy"] > frequent + CLEARLY_LEARNED:
        return None
    weight = next(task.model.parameters())
    preprocess, size = copy.deepcopy(data.preprocess).to(weight.device), loader.eval_batch_size
    parts = [images[slice(i, i + size)] for i in range(0, len(images), size)]
    parts = parts[: limited(len(parts), val_limit)]
    with torch.no_grad():
        model = task.model.eval()
        logits = torch.cat([model(preprocess(p.images.to(weight.device)).to(weight.dtype)).cpu() for p in parts])
    labels = torch.cat([part.labels.cpu() for part in parts])
    return find_guess(ClassificationMetrics(logits, labels, data.classes).confusion.tolist())
