"""The training loop of a tutorial in plain torch and torchvision. No code of lenet_pl is used here."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn, optim
from torchvision import transforms

from lenet_pl.benchmark.tutorials.recipes import Recipe


@dataclass(frozen=True)
class Images:
    """Images as a dataset has them.

    Attributes:
        pixels: uint8 of shape (N, H, W), or (N, H, W, 3) for color.
        labels: int64 of shape (N,).
    """

    pixels: np.ndarray[Any, Any]
    labels: Tensor


@dataclass
class Kept:
    """The weights that will be tested, and the history of the training."""

    weights: dict[str, Tensor]
    epoch: int = 0
    best: float = -float("inf")
    losses: list[float] = field(default_factory=list)  # of each step


def tensors(recipe: Recipe, images: list[Any]) -> Tensor:
    """Convert PIL images to the input of the network, float of shape (N, C, H, W)."""
    steps: list[Any] = [transforms.ToTensor()]
    if recipe.normalize:
        steps.append(transforms.Normalize(*recipe.normalize))
    convert = transforms.Compose(steps)
    return torch.stack([convert(image) for image in images])


def pictures(recipe: Recipe, pixels: np.ndarray[Any, Any]) -> list[Any]:
    """Convert arrays to PIL images of the network's size, which need not be repeated in every epoch."""
    found = [Image.fromarray(one) for one in pixels]
    return [recipe.resize(image) for image in found] if recipe.resize else found


class TrainingSet:
    """The training images of a recipe: tensors made once, or augmented PIL images."""

    def __init__(self, recipe: Recipe, images: Images, chosen: Tensor) -> None:
        self.recipe, self.labels = recipe, images.labels[chosen]
        self.pictures = pictures(recipe, images.pixels[chosen.numpy()])
        self.ready = None if recipe.augment else tensors(recipe, self.pictures)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the inputs and labels of an epoch."""
        count = len(self.labels)
        order = torch.randperm(count) if self.recipe.shuffle else torch.arange(count)
        for batch in torch.split(order, self.recipe.batch_size):
            if self.ready is None:
                assert self.recipe.augment
                moved = [self.recipe.augment(self.pictures[k]) for k in batch.tolist()]
                yield tensors(self.recipe, moved), self.labels[batch]
            else:
                yield self.ready[batch], self.labels[batch]


def train_tutorial(recipe: Recipe, train: Images, test: Images, seed: int) -> dict[str, Any]:
    """Train and test as the tutorial does.

    Args:
        recipe: The recipe.
        train: The training images, in the order of the file; those that validate are taken from them.
        test: The test images, scored once with the weights that the recipe keeps.
        seed: The seed of weights, order, augmentation and dropout, and of validation images that are random.

    Returns:
        `test_accuracy`; `seconds` of training, without validation; `epochs` that were run and the `best_epoch` whose
        weights were tested, from 1; `losses` of each step.
    """
    torch.manual_seed(seed)
    network = recipe.network()
    optimizer = optim.Adam(network.parameters(), recipe.lr, weight_decay=recipe.l2)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    count = len(train.labels)
    order = torch.randperm(count) if recipe.which == "random" else torch.arange(count)
    training = TrainingSet(recipe, train, order[: count - recipe.validation])
    held_out = order[count - recipe.validation :]
    validation = tensors(recipe, pictures(recipe, train.pixels[held_out.numpy()])) if recipe.validation else None
    kept = Kept(copy.deepcopy(network.state_dict()))
    lowest, waited, seconds, epoch = float("inf"), 0, 0.0, 0
    for epoch in range(1, recipe.epochs + 1):
        seconds += _train_epoch(network, optimizer, training, kept.losses)
        score = float(epoch)  # the last epoch is the best
        if validation is not None:
            loss, accuracy = evaluate(network, validation, train.labels[held_out])
            score = {"last": score, "accuracy": accuracy, "loss": -loss}[recipe.keep]
            if recipe.plateau:
                plateau.step(loss)
            waited = 0 if loss < lowest else waited + 1
            lowest = min(lowest, loss)
        if score > kept.best:
            kept.best, kept.epoch, kept.weights = score, epoch, copy.deepcopy(network.state_dict())
        if recipe.patience and waited >= recipe.patience:
            break
    network.load_state_dict(kept.weights)
    _, accuracy = evaluate(network, tensors(recipe, pictures(recipe, test.pixels)), test.labels)
    return {
        "test_accuracy": round(accuracy, 6),
        "seconds": round(seconds, 3),
        "epochs": epoch,
        "best_epoch": kept.epoch,
        "losses": kept.losses,
    }


def _train_epoch(network: nn.Module, optimizer: optim.Optimizer, training: TrainingSet, losses: list[float]) -> float:
    """Train one epoch, append the loss of each step, and return the time in seconds."""
    start = time.perf_counter()
    network.train()
    loss_of = nn.CrossEntropyLoss()
    for inputs, labels in training.batches():
        optimizer.zero_grad()
        loss = loss_of(network(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return time.perf_counter() - start


def evaluate(network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the mean cross entropy and the accuracy of a network in evaluation mode."""
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([network(part) for part in torch.split(inputs, 1000)])
        return float(nn.CrossEntropyLoss()(logits, labels)), float((logits.argmax(1) == labels).float().mean())
