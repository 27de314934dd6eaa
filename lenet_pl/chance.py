"""Whether a trained network does better than guessing, and what to try if it does not. Imports nothing heavy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lenet_pl.settings import ConvNetSettings, SgdSettings, TrainSettings

SURE = 2.33  # standard deviations that guessing exceeds once in a hundred times
NEARLY_ALL = 0.95  # share of the images of all other classes that are taken for one
FEW_STEPS = 100  # optimizer steps, after which many a network is still at chance
SATURATING = ("sigmoid", "tanh")


@dataclass(frozen=True)
class Guess:
    """A network that has learned nothing, or next to nothing.

    Attributes:
        images: that it was shown.
        right: how many of them it recognized.
        favorite: class that it names most often, as an index.
        named: how many images it takes for that.
        share: of the favorite among the true classes.
        no_better: whether it is right no more often than one that names the same classes as often, at random.
    """

    images: int
    right: int
    favorite: int
    named: int
    share: float
    no_better: bool

    def describe(self, classes: Sequence[str]) -> str:
        """Say it on one line."""
        what = "nothing" if self.no_better else "next to nothing"
        taken = f"{self.named:,} of {self.images:,} validation images are taken for {classes[self.favorite]}"
        return f"learned {what}: validation accuracy {self.right / self.images:.4f} is that of guessing, {taken}"


def find_guess(confusion: Sequence[Sequence[int]]) -> Guess | None:
    """Say whether predictions are those of a network that has learned nothing; None if it has learned.

    A network guesses if what it predicts does not depend on what is true: if it is right no more often than where the
    true classes are dealt out anew among the images, less the hundredth of cases with most luck. Where classes are
    equally frequent, that is the binomial bound. Where one is frequent, it is not: a network that finds a few of the
    rare ones has hardly more accuracy than one that finds none. A network also counts as one that guesses if nearly all
    images of all other classes are taken for one class.

    Args:
        confusion: (K, K) counts; rows are the true classes.
    """
    true, predicted = [sum(row) for row in confusion], [sum(column) for column in zip(*confusion, strict=True)]
    images, right = sum(true), sum(confusion[k][k] for k in range(len(confusion)))
    favorite = max(range(len(predicted)), key=predicted.__getitem__)
    others = images - true[favorite]
    if max(true, default=0) == images:
        return None  # of one class alone, or of none, nothing can be told
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
    """Name settings that are likely to help, by what is known of such failures.

    Args:
        settings: of the training.
        guess: what came of it.
        classes: K.
        steps: optimizer steps that were taken.
    """
    optimizer, lr = settings.optimizer, settings.optimizer.lr
    sgd, model = isinstance(optimizer, SgdSettings), settings.model
    saturates = isinstance(model, ConvNetSettings) and model.activation in SATURATING
    tips: list[str] = []
    if (
        guess.share > max(0.5, 1.5 / classes)
        and not settings.loss.class_weights
        and settings.loss.name == "cross_entropy"
    ):
        tips.append("loss.class_weights=balanced")
    if lr >= (0.5 if sgd else 0.005):
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
        tips.append("model.norm=batch")
    return f"try {', '.join(tips[:-1])} or {tips[-1]}" if len(tips) > 1 else f"try {tips[0]}"
