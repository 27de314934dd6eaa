"""Trainings with a planted fault, and healthy ones, that `lenet_pl.diagnose` must tell apart."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from lenet_pl.runtime.checkpoint_file import load_checkpoint

Arrays = Callable[[Any, Any], tuple[Any, Any]]
EPOCHS = 8  # of a training without a number of its own; 72 steps of digits


@dataclass(frozen=True)
class Case:
    """A training for a diagnosis.

    Attributes:
        name: What is wrong, or the network and the data of a healthy one.
        faults: The faults of which one must be named, keys of `lenet_pl.diagnose.verdict.FAULTS`; none if healthy.
        settings: The overrides of the training.
        plant: A function of the digits' images and labels that returns changed ones for `data=arrays`; None for none.
        bias: What is set as the biases of all layers but the last before the training; None for nothing.
        needs: The dataset that must be on this machine; "" for none.
    """

    name: str
    faults: tuple[str, ...]
    settings: tuple[str, ...] = ()
    plant: Arrays | None = None
    bias: float | None = None
    needs: str = ""


def shuffled_labels(fraction: float) -> Arrays:
    """Return a function that permutes the labels of a fraction of the images."""

    def plant(images: Any, labels: Any) -> tuple[Any, Any]:
        order = np.random.default_rng(1)
        chosen = order.permutation(len(labels))[: round(fraction * len(labels))]
        changed = labels.copy()
        changed[chosen] = labels[order.permutation(chosen)]
        return images, changed

    return plant


def zero_channel(images: Any, labels: Any) -> tuple[Any, Any]:
    """Add two color channels, of which the last is all zero."""
    return np.stack([images, images, np.zeros_like(images)], 3), labels


def few(per_class: int) -> Arrays:
    """Return a function that keeps some images of each class, and 20 of each for validation."""

    def plant(images: Any, labels: Any) -> tuple[Any, Any]:
        rows = np.concatenate([np.flatnonzero(labels == k)[: per_class + 20] for k in range(10)])
        return images[rows], labels[rows]

    return plant


def by_class(images: Any, labels: Any) -> tuple[Any, Any]:
    """Sort the images by their class."""
    order = np.argsort(labels, kind="stable")
    return images[order], labels[order]


DEEP = ("model.activation=sigmoid", "model.padding=same", "model.kernel_size=3")
FEW = ("data.split.val_size=200", "loader.batch_size=10", "trainer.max_epochs=60")
PLANTED = (
    Case("learning rate × 100", ("lr_too_high",), ("optimizer.lr=0.1",)),
    Case("learning rate / 1000", ("lr_too_low",), ("optimizer.lr=0.000001",)),
    Case("labels shuffled", ("label_noise",), plant=shuffled_labels(1.0)),
    Case("all-zero channel", ("constant_channel",), plant=zero_channel),
    Case(
        "eight layers of sigmoids",
        ("vanishing_gradients", "saturated_units"),
        (*DEEP, "model.channels=[[8,8],[16,16],[16]]", "model.hidden_sizes=[64,64,64]"),
    ),
    Case("wrong mean", ("input_statistics",), ("input_range=[10,11]",)),
    Case("10 training images", ("too_few_images",), FEW, few(1)),
    Case("sorted, not shuffled", ("not_shuffled",), ("loader.shuffle=false",), by_class),
    Case("dropout 0.95", ("dropout_too_high",), ("model.dropout=0.95",)),
    Case("weight decay 1", ("weight_decay_too_high",), ("optimizer.weight_decay=1",)),
    Case(
        "batches of 2 with batch normalization",
        ("batch_norm_small_batch",),
        ("model=lenet_bn", "loader.batch_size=2", "trainer.max_epochs=2"),
    ),
    Case("dead ReLUs", ("dead_units",), bias=-30.0),
)
SUBSET = ("trainer.max_epochs=4", "trainer.limit_train_batches=50", "trainer.limit_val_batches=2")
HEALTHY = (
    Case("lenet5 on digits", ()),
    Case("lenet_bn on digits", (), ("model=lenet_bn",)),
    Case("cnn5_bn on digits", (), ("model=cnn5_bn", "trainer.max_epochs=5")),
    Case("lenet_sigmoid_avg on digits", (), ("model=lenet_sigmoid_avg", "optimizer.lr=0.01", "trainer.max_epochs=20")),
    Case("lenet5_bn on 6,400 clothes", (), ("model=lenet5_bn", "data=fashion", *SUBSET), needs="fashion"),
)
# Other strengths, seeds and networks than those with which the thresholds were checked first
FURTHER = (
    Case("learning rate × 30, lenet5_bn", ("lr_too_high",), ("model=lenet5_bn", "optimizer.lr=0.03", "seed=1")),
    Case("learning rate × 30", ("lr_too_high",), ("optimizer.lr=0.03", "seed=1")),
    Case("learning rate / 100, SGD", ("lr_too_low",), ("optimizer=sgd", "optimizer.lr=0.0005", "seed=1")),
    Case("half of the labels shuffled", ("label_noise",), ("seed=1", "model=lenet_bn"), shuffled_labels(0.5)),
    Case("30 training images", ("too_few_images",), FEW, few(3)),
    Case("dropout 0.8", ("dropout_too_high",), ("model.dropout=0.8", "seed=1")),
    Case("weight decay 0.1", ("weight_decay_too_high",), ("optimizer.weight_decay=0.1", "seed=1")),
    Case("inputs of 0 to 255", ("input_statistics",), ("input_range=[0,255]", "seed=1")),
    Case(
        "six layers of sigmoids",
        ("vanishing_gradients", "saturated_units"),
        (*DEEP, "model.channels=[[8,8],[16,16]]", "model.hidden_sizes=[64]", "seed=1"),
    ),
    Case(
        "batches of 4 with batch normalization",
        ("batch_norm_small_batch",),
        ("model=lenet5_bn", "loader.batch_size=4", "trainer.max_epochs=4", "seed=1"),
    ),
    Case("lenet5 on digits, SGD", (), ("optimizer=sgd", "optimizer.lr=0.05", "seed=1")),
    Case("lenet1 on digits", (), ("model=lenet1", "seed=2")),
    Case("lenet_avg_dropout on digits", (), ("model=lenet_avg_dropout", "seed=1")),
    Case("lenet5 on digits, affine, weight decay", (), ("augment=affine", "optimizer=adamw", "seed=3")),
    Case("cnn3_bn on digits", (), ("model=cnn3_bn", "trainer.max_epochs=5", "seed=1")),
    Case("lenet5 on 6,400 digits of MNIST", (), ("data=mnist", *SUBSET, "seed=1"), needs="mnist"),
)


def prepare(case: Case, folder: Path) -> list[str]:
    """Write the data and the initial weights of a case, and return the overrides of its training."""
    overrides = [f"trainer.max_epochs={EPOCHS}", *case.settings]
    if case.plant:
        write_digits(folder / "data", case.plant)
        overrides = ["data=arrays", f"data.path={folder / 'data'}", "data.resize_mode=resize", *overrides]
        overrides += [] if any("val_size" in word for word in case.settings) else ["data.split.val_size=0.15"]
    if case.bias is not None:
        overrides.append(f"init_from={folder / 'biased.ckpt'}")
    return overrides


def write_digits(folder: Path, plant: Arrays) -> None:
    """Write scikit-learn's digits as NumPy files, changed by a function; 300 are kept as they are for the test."""
    bunch = load_digits()
    images, labels = (bunch.images * 255 / 16).round().astype(np.uint8), bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    test, train = order[:300], order[300:]
    changed, given = plant(images[train], labels[train])
    kept = images[test] if changed.ndim == 3 else np.stack([images[test]] * 3, 3)
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in {
        "train_images": changed,
        "train_labels": given,
        "test_images": kept,
        "test_labels": labels[test],
    }.items():
        np.save(folder / f"{name}.npy", values)


def set_biases(source: Path, target: Path, bias: float) -> None:
    """Write a checkpoint whose biases, but for those of the last layer, have one value."""
    content = load_checkpoint(source)
    weights = content["state_dict"]
    biases = [name for name in weights if name.endswith(".bias")]
    for name in biases[:-1]:
        weights[name].fill_(bias)
    torch.save(content, target)
