"""Signs of too much or too little regularization, and of too few images or epochs."""

from itertools import pairwise
from statistics import mean

from lenet_pl.diagnose.check_learning_rate import LAST
from lenet_pl.diagnose.examination import Examination
from lenet_pl.diagnose.verdict import Suspicion
from lenet_pl.settings.choices import read_choice

DROPOUT = 0.5  # the usual rate of hidden layers; Srivastava et al. 2014, "Dropout", section A.4: 0.2 to 0.5
SHRUNK = 0.5  # of the norm of the initial weights
PULL = 1.0  # norm of the weight decay / norm of the gradient, beyond which weights shrink whatever the images are
GAP = 0.1  # accuracy on training minus validation images; ten in a hundred were learned by heart
SURE = 3.0  # standard errors of that difference
FEW = 50  # images of a class; measured on digits and Fashion-MNIST, fewer are what limits the accuracy
HOPELESS = 10  # images of a class, from which no network learns it without earlier training
FALLING = 0.03  # of the validation loss in each of the last epochs
FITTED = 0.95  # accuracy on training images, from which more epochs cannot add much


def check_dropout(found: Examination) -> Suspicion | None:
    """Suspect dropout above the usual rates."""
    rates = getattr(found.run.settings.model, "dropout", 0) or 0
    highest = max(rates, default=0) if isinstance(rates, list) else rates
    if highest <= DROPOUT:
        return None
    lower = [min(rate, 0.2) for rate in rates] if isinstance(rates, list) else 0.2
    return Suspicion(
        "dropout_too_high",
        f"dropout removes {highest:.0%} of the units of a layer in every step",
        {
            "dropout": highest,
            "accuracy on training images with dropout": found.replay.train_mode,
            "accuracy on training images without": found.replay.train.accuracy,
        },
        "model.dropout=0.2",
        {"model.dropout": lower},
        confidence=0.5,
        remains=0.4 if highest >= 0.9 and found.train.accuracy < FITTED else 0.0,
    )


def check_weight_decay(found: Examination) -> Suspicion | None:
    """Suspect weight decay that pulls more than the gradient, or under which the weights shrink."""
    decay = getattr(found.run.settings.optimizer, "weight_decay", 0) or 0
    replay = found.replay
    if not decay or not replay.weight_norms:
        return None
    gradient, weight = mean(replay.gradient_norms[-LAST:]), mean(replay.weight_norms[-LAST:])
    pull, shrunk = decay * weight / max(gradient, 1e-12), weight / replay.weight_norms[0]
    coupled = found.run.settings.optimizer.name in ("adam", "radam", "nadam", "sgd", "rmsprop")
    if not (coupled and pull > PULL) and shrunk > SHRUNK:
        return None
    return Suspicion(
        "weight_decay_too_high",
        f"weight decay of {decay:g} pulls the weights to zero {pull:.2g} times as strongly as the loss moves them; "
        f"their norm is {shrunk:.0%} of the initial one",
        {
            "weight decay": decay,
            "norm of the decay / norm of the gradient": pull,
            "norm of the weights / initial norm": shrunk,
        },
        "optimizer.weight_decay=0",
        {"optimizer.weight_decay": 0.0},
        confidence=0.5,
        remains=0.0,
        figure="gradients",
    )


def check_augmentation(found: Examination) -> Suspicion | None:
    """Suspect augmentation under which even the training images are not learned."""
    if _no_augmentation(found) or found.train.accuracy >= FITTED:
        return None
    return Suspicion(
        "augmentation_too_strong",
        f"with augmentation, {found.train.accuracy:.1%} of the training images are learned as they are",
        {"accuracy on training images": found.train.accuracy, "validation accuracy": found.validation.accuracy},
        "augment=none, or less of it",
        {"augment": "none"},
        confidence=0.3,
    )


def check_overfitting(found: Examination) -> Suspicion | None:
    """Report a large difference between training and validation images; of few images, too few images."""
    gap = found.train.accuracy - found.validation.accuracy
    p, n = found.validation.accuracy, found.replay.images
    error = (p * (1 - p) / n + found.train.accuracy * (1 - found.train.accuracy) / found.train_images) ** 0.5
    fewest = min(found.class_counts)
    per_class = sum(found.class_counts) / len(found.class_counts)
    hopeless = per_class < HOPELESS and found.run.settings.init_from is None and p < FITTED
    if not hopeless and (gap < GAP or gap < SURE * error):
        return None
    evidence = {
        "accuracy on training images": found.train.accuracy,
        "accuracy on validation images": found.validation.accuracy,
        "training images per class": per_class,
        "images of the rarest class": fewest,
    }
    told = f"{found.train.accuracy:.1%} of the training and {found.validation.accuracy:.1%} of the validation images"
    if per_class < FEW:
        return Suspicion(
            "too_few_images",
            f"there are {per_class:.3g} training images per class: {told} are right",
            evidence,
            "more images; until then augment=affine, or init_from=<a network trained on similar images>",
            {"augment": "affine"} if _no_augmentation(found) else {},
            confidence=0.8,
            remains=0.8,
            figure="curves",
        )
    return Suspicion(
        "overfitting",
        f"the network has learned training images by heart: {told} are right",
        evidence,
        "augment=affine, model.dropout=0.3 or more images",
        {"augment": "affine"} if _no_augmentation(found) else {},
        confidence=0.6,
        remains=0.6,
        figure="curves",
    )


def check_too_few_epochs(found: Examination) -> Suspicion | None:
    """Suspect a training that ended at its last epoch while the validation loss was still falling."""
    rows = [row for row in found.run.rows if "val/loss" in row]
    epochs = found.run.settings.trainer.max_epochs
    if not found.run.finished or len(rows) < 3 or len(found.run.rows) < epochs or found.train.accuracy >= FITTED:
        return None
    last = [row["val/loss"] for row in rows[-3:]]
    if last[0] <= 0 or any(after > (1 - FALLING) * before for before, after in pairwise(last)):
        return None
    return Suspicion(
        "too_few_epochs",
        f"the validation loss was still falling when the last of {epochs} epochs ended, from {last[-2]:.4g} to "
        f"{last[-1]:.4g} in the last one",
        {"validation loss of the last epochs": last, "accuracy on training images": found.train.accuracy},
        f"trainer.max_epochs={2 * epochs} (with resume=true, unless the schedule depends on it)",
        confidence=0.4,
        figure="curves",
    )


def _no_augmentation(found: Examination) -> bool:
    return found.run.settings.augment.model_dump() == read_choice("augment", "none")
