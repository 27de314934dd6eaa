"""Detection of networks that are no better than chance, and settings to try next. Without heavy imports."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_pl.settings import ConvNetSettings, LossSettings, SgdSettings, TrainSettings

SURE = 2.33  # standard deviations: the one-sided 1 % level of a normal distribution
NEARLY_ALL = 0.95  # fraction of the images of all other classes that are predicted as one class
FEW_STEPS = 100  # optimizer steps, after which many networks are still at chance level
SATURATING = ("sigmoid", "tanh")


@dataclass(frozen=True)
class Guess:
    """The predictions of a network that has learned nothing, or next to nothing.

    Attributes:
        images: The number of images.
        right: The number of correct predictions.
        favorite: The index of the class that is predicted most often.
        named: The number of images that are predicted as the favorite.
        share: The fraction of images whose true class is the favorite.
        no_better: Whether the accuracy is no better than that of the same predictions in random order.
    """

    images: int
    right: int
    favorite: int
    named: int
    share: float
    no_better: bool

    def describe(self, classes: Sequence[str]) -> str:
        """Describe the predictions in one line."""
        what = "nothing" if self.no_better else "next to nothing"
        taken = f"{self.named:,} of {self.images:,} validation images are predicted as {classes[self.favorite]}"
        return f"learned {what}: validation accuracy {self.right / self.images:.4f} is at chance level, {taken}"


def find_guess(confusion: Sequence[Sequence[int]]) -> Guess | None:
    """Test whether predictions are no better than chance.

    They are if the number of correct predictions is not significantly larger (1 % level) than under random permutations
    of the true classes. For equally frequent classes that is the binomial bound. For imbalanced classes it is sharper,
    since a network that finds a few images of rare classes hardly gains accuracy. Predictions also count as chance if
    nearly all images of all other classes are predicted as one class.

    Args:
        confusion: Counts, (K, K), with true classes in rows and predicted classes in columns.

    Returns:
        None if the network has learned something, or if there is only one true class, or no image.
    """
    true, predicted = [sum(row) for row in confusion], [sum(column) for column in zip(*confusion, strict=True)]
    images, right = sum(true), sum(confusion[k][k] for k in range(len(confusion)))
    favorite = max(range(len(predicted)), key=predicted.__getitem__)
    others = images - true[favorite]
    if max(true, default=0) == images:
        return None  # nothing to distinguish
    expected = sum(t * p for t, p in zip(true, predicted, strict=True)) / images
    # Variance of the number of matches under random permutations: Hoeffding 1951
    deviations = (
        p * t * ((k == l) - true[k] / images - predicted[l] / images + expected / images) ** 2
        for k, p in enumerate(predicted)
        for l, t in enumerate(true)  # noqa: E741
    )
    no_better = right - expected < SURE * math.sqrt(sum(deviations) / (images - 1)) or right <= expected
    taken = predicted[favorite] - confusion[favorite][favorite]
    if not no_better and (not others or taken < NEARLY_ALL * others):
        return None
    return Guess(images, right, favorite, predicted[favorite], true[favorite] / images, no_better)


def what_to_try(settings: TrainSettings, guess: Guess, classes: int, steps: int) -> str:
    """Suggest settings that are likely to help, in one line such as "try optimizer=adam or more epochs".

    Args:
        settings: The settings of the training.
        guess: The predictions of its network.
        classes: The number of classes, K.
        steps: The number of optimizer steps of the training.
    """
    optimizer, lr = settings.optimizer, getattr(settings.optimizer, "lr", None)  # a plug-in may call it otherwise
    sgd, model = isinstance(optimizer, SgdSettings), settings.model
    saturates = isinstance(model, ConvNetSettings) and model.activation in SATURATING
    tips: list[str] = []
    if (
        guess.share > max(0.5, 1.5 / classes)
        and isinstance(settings.loss, LossSettings)
        and settings.loss.name == "cross_entropy"
        and not settings.loss.class_weights
    ):
        tips.append("loss.class_weights=balanced")
    if not isinstance(lr, float):
        tips.append("optimizer=adam")
    elif lr >= (0.5 if sgd else 0.005):
        tips.append(f"a smaller optimizer.lr ({0.05 if sgd else 0.001} instead of {lr:g})")
    elif sgd and saturates:
        tips += ["optimizer=adam", f"a larger optimizer.lr (it is {lr:g})"]
    elif lr < (1e-3 if sgd else 1e-4):
        tips.append(f"a larger optimizer.lr (it is {lr:g})")
    else:
        tips.append(f"another optimizer.lr (it is {lr:g})")
        tips += [] if optimizer.name.startswith("adam") else ["optimizer=adam"]
    if steps < FEW_STEPS:
        tips.append("more epochs")
    if isinstance(model, ConvNetSettings) and model.norm == "none" and optimizer.name != "sdlm":
        tips.append("model.norm=batch_norm")
    return f"try {', '.join(tips[:-1])} or {tips[-1]}" if len(tips) > 1 else f"try {tips[0]}"
