"""The recipes of seven tutorials: what their own loops do, and what the experiments of the same names do otherwise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torchvision import transforms

from lenet_pl.benchmark.tutorials import networks

OF_ALL = (  # what no experiment does as its tutorial does
    "The initial weights of a seed are the same; order, augmentation and dropout come from other random numbers.",
    "On a CPU with bf16 instructions, training is in bf16-mixed precision; the tutorial's is in fp32.",
)
ALL_TRAIN = (
    "5,000 images validate and choose the epoch. The tutorial trains on all images and tests the weights of the last "
    "epoch."
)
UNROUNDED = "Resized gray levels are not rounded to whole ones."
NEAREST = "Random geometry is interpolated bilinearly and once; torchvision takes the nearest pixel by default."


@dataclass(frozen=True)
class Recipe:
    """A tutorial's recipe.

    Attributes:
        name: The experiment that does the same.
        data: The choice of the config group `data`.
        network: The function that builds the network.
        differences: What the experiment does not do as the tutorial does, besides `OF_ALL`; sentences.
        batch_size: Images per optimizer step.
        epochs: The largest number of epochs.
        resize: The transform of every PIL image before augmentation, or None.
        augment: The random transform of every training image, or None.
        normalize: Mean and standard deviation per channel, or None for gray levels in [0, 1].
        lr: The learning rate of Adam.
        l2: The weight decay of Adam, which is an L2 penalty.
        shuffle: Whether every epoch has a new order.
        validation: The number of training images that validate.
        which: The images that validate: the last of the file, or random ones.
        keep: The weights that are tested: of the last epoch, or of that with the best validation accuracy or loss.
        plateau: Whether the learning rate is halved after 3 epochs without a lower validation loss.
        patience: The epochs without a lower validation loss after which the training stops; None for never.
        published: The test accuracy that the tutorial reports, or None.
        fixed: The experiment without the faults of the recipe, or None.
    """

    name: str
    data: str
    network: Callable[[], nn.Module]
    differences: tuple[str, ...]
    batch_size: int
    epochs: int
    resize: Callable[[Any], Any] | None = None
    augment: Callable[[Any], Any] | None = None
    normalize: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    lr: float = 1e-3
    l2: float = 0
    shuffle: bool = True
    validation: int = 0
    which: Literal["last", "random"] = "last"
    keep: Literal["last", "accuracy", "loss"] = "last"
    plateau: bool = False
    patience: int | None = None
    published: float | None = None
    fixed: str | None = None


MNIST = ((0.1307,), (0.3081,))
_ALL = (
    Recipe(
        "lenet5_mnist",
        "mnist",
        networks.lenet5,
        (ALL_TRAIN, UNROUNDED),
        batch_size=64,
        epochs=10,
        resize=transforms.Resize((32, 32)),
        normalize=MNIST,
    ),
    Recipe(
        "lenet_bn_mnist",
        "mnist",
        networks.lenet_bn,
        (UNROUNDED, NEAREST),
        batch_size=128,
        epochs=20,
        resize=transforms.Resize((32, 32)),
        augment=transforms.RandomAffine(10, translate=(0.1, 0.1)),
        normalize=MNIST,
        l2=1e-5,
        validation=5000,
        keep="loss",
        plateau=True,
        patience=5,
    ),
    Recipe(
        "lenet_sigmoid_avg_mnist",
        "mnist",
        networks.lenet_sigmoid_avg,
        ("The 5,000 validation images are stratified; in the loop they are random.",),
        batch_size=64,
        epochs=10,
        resize=transforms.Pad(2),
        normalize=MNIST,
        validation=5000,
        which="random",
        keep="accuracy",
    ),
    Recipe(
        "lenet_sigmoid_fashion",
        "fashion",
        networks.lenet_sigmoid,
        (),
        batch_size=64,
        epochs=25,
        shuffle=False,
        validation=12_000,
        keep="accuracy",
        published=0.8677,
        fixed="lenet_sigmoid_fashion_fixed",
    ),
    Recipe(
        "lenet_avg_dropout_mnist",
        "mnist",
        networks.lenet_avg_dropout,
        (ALL_TRAIN,),
        batch_size=100,
        epochs=10,
        l2=0.01,
        fixed="lenet_avg_dropout_mnist_fixed",
    ),
    Recipe(
        "cnn3_bn_cifar10",
        "cifar10",
        networks.cnn3_bn,
        (
            "The 5,000 validation images are stratified, and the epoch with the best validation accuracy is tested; in "
            "the loop they are random, and the last epoch is.",
            NEAREST,
            "Crop, rotation and flip come first, then the colors in a fixed order; torchvision's is random.",
        ),
        batch_size=64,
        epochs=20,
        augment=transforms.Compose([
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.1),
            transforms.RandomRotation(15),
        ]),
        normalize=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        validation=5000,
        which="random",
        plateau=True,
        fixed="cnn3_bn_cifar10_fixed",
    ),
    Recipe(
        "cnn_plain_mnist",
        "mnist",
        networks.cnn_plain,
        (ALL_TRAIN,),
        batch_size=64,
        epochs=9,
        lr=1e-2,
        shuffle=False,
        fixed="cnn_plain_mnist_fixed",
    ),
)  # fmt: skip
RECIPES = {recipe.name: recipe for recipe in _ALL}
