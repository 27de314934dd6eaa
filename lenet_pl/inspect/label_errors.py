"""Probable label errors: confident learning with cross-validated predictions.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021: each image
is predicted by a network that was trained without it. From these probabilities `cleanlab` estimates how many labels of
each class are wrong, and ranks the images by the probability of their given label.
"""

import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.engine.build import build_task
from lenet_pl.engine.trainer import ranked, silence_lightning_logs
from lenet_pl.errors import SettingError, printable
from lenet_pl.inspect.findings import Finding
from lenet_pl.inspect.images import AllImages
from lenet_pl.inspect.recipe import training_settings
from lenet_pl.runtime.seeding import keyed_seed
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.inspect import InspectSettings

EPOCHS, STEPS = 5, 250  # of a training, whichever is more steps


def predict_out_of_fold(images: AllImages, background: int, settings: InspectSettings) -> Tensor:
    """Predict each image by a network that was trained on the other folds.

    Args:
        images: All images, of all splits together.
        background: The gray level around the object.
        settings: The settings of the command.

    Returns:
        The probabilities of the classes, float64 (N, K).

    Raises:
        SettingError: A class has fewer images than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = torch.bincount(images.labels, minlength=len(images.classes))
    if counts.min() < settings.folds:
        few = int(counts.argmin())
        raise SettingError(
            f"folds: got {settings.folds}, but {printable(images.classes[few])} has {counts[few]} images; must be at "
            f"most {max(2, int(counts[few]))}, or use label_errors=false"
        )
    recipe = training_settings(settings)
    pool = _read_all(images, recipe.model.image_size)
    probabilities = torch.zeros(len(images), len(images.classes), dtype=torch.float64)
    folds = StratifiedKFold(settings.folds, shuffle=True, random_state=keyed_seed("folds", settings.seed) % 2**32)
    silence_lightning_logs()
    with SignalHandler() as signals, ranked(0):
        for number, (rest, held_out) in enumerate(folds.split(images.labels, images.labels), 1):
            start = time.perf_counter()
            train, test = (pool.subset(torch.from_numpy(part)) for part in (rest, held_out))
            logits = _train_and_predict(train, test, images.classes, background, settings, recipe, signals)
            probabilities[torch.from_numpy(held_out)] = logits.double().softmax(1)
            accuracy = float((logits.argmax(1) == test.labels).double().mean())
            seconds = time.perf_counter() - start
            print(
                f"label errors: fold {number} of {settings.folds}, {accuracy:.1%} of the held-out labels predicted, "
                f"{seconds:.0f} s",
                flush=True,
            )
    return probabilities


def rank_label_errors(labels: Tensor, probabilities: Tensor) -> list[Finding]:
    """Find labels that are probably wrong, and then all others that were not predicted.

    Both are ranked by self-confidence: those first whose given label has the smallest probability.

    Args:
        labels: The given classes, int64 (N,).
        probabilities: Out-of-fold probabilities of the classes, float64 (N, K).
    """
    from cleanlab.filter import find_label_issues

    issues: Any = find_label_issues(labels.numpy(), probabilities.numpy(), n_jobs=1)
    wrong, predicted = torch.from_numpy(np.asarray(issues)), probabilities.argmax(1)
    confidence = probabilities.gather(1, labels[:, None])[:, 0]
    found: list[Finding] = []
    for kind, chosen in (("label_error", wrong), ("unlikely_label", ~wrong & (predicted != labels))):
        indices = chosen.nonzero()[:, 0]
        order = indices[confidence[indices].sort(stable=True).indices].tolist()
        found += [Finding(kind, k, float(confidence[k]), suggested=int(predicted[k])) for k in order]
    return found


def _read_all(images: AllImages, image_size: int) -> ImageDataset:
    """Read all images into memory, those larger than the input of the network reduced to it."""
    height, width = images.shape[1:]
    size = (height, width) if max(height, width) <= image_size else (image_size, image_size)
    pixels = torch.empty(len(images), images.shape[0], *size, dtype=torch.uint8)
    for rows, block in images.blocks():
        if size != (height, width):
            small = functional.interpolate(block.float(), size, mode="bilinear", align_corners=False, antialias=True)
            block = small.round().clamp(0, 255).to(torch.uint8)
        pixels[rows] = block
    return ImageDataset(pixels, images.labels)


def _train_and_predict(
    train: ImageDataset,
    held_out: ImageDataset,
    classes: tuple[str, ...],
    background: int,
    settings: InspectSettings,
    recipe: TrainSettings,
    signals: SignalHandler,
) -> Tensor:
    """Train a network and return its logits of the held-out images, float (M, K)."""
    batch_size = max(2, min(recipe.loader.batch_size, len(train) // 32))
    epochs = settings.epochs or max(EPOCHS, -(-STEPS // max(1, len(train) // batch_size)))
    data = ImageDataModule(
        (train, held_out, held_out),  # validated by nothing
        image_size=recipe.model.image_size,
        batch_size=batch_size,
        drop_last=True,
        seed=settings.seed,
        input_range=recipe.input_range,
        resize_mode=settings.data.resize_mode,
        classes=classes,
        background=background,
    )
    data.setup()
    limits = recipe.trainer.model_copy(update={"max_epochs": epochs})
    lightning.seed_everything(settings.seed, verbose=False)
    task = build_task(recipe.model_copy(update={"trainer": limits}), data, signals)
    trainer = lightning.Trainer(
        accelerator=recipe.trainer.accelerator,
        devices=1,
        deterministic=recipe.trainer.deterministic,
        max_epochs=epochs,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=Path(settings.output_dir),
    )
    trainer.fit(task, data)
    logits: Any = trainer.predict(task, data)
    return torch.cat(logits).float()
