"""All checks, in the order in which they are listed."""

from collections.abc import Callable

from lenet_pl.diagnose import check_data, check_layers, check_learning_rate, check_regularization
from lenet_pl.diagnose.examination import Examination
from lenet_pl.diagnose.verdict import Suspicion

CHECKS: dict[str, Callable[[Examination], Suspicion | None]] = {
    "learning rate: too high": check_learning_rate.check_lr_too_high,
    "learning rate: too low": check_learning_rate.check_lr_too_low,
    "loss at the start": check_learning_rate.check_initial_loss,
    "exploding gradients": check_learning_rate.check_exploding_gradients,
    "vanishing gradients": check_layers.check_vanishing_gradients,
    "dead units": check_layers.check_dead_units,
    "saturated units": check_layers.check_saturated_units,
    "batch normalization": check_layers.check_batch_norm_small_batch,
    "mean and standard deviation of the inputs": check_data.check_input_statistics,
    "constant channels": check_data.check_constant_channel,
    "labels": check_data.check_label_noise,
    "order of the images": check_data.check_not_shuffled,
    "balance of the classes": check_data.check_class_imbalance,
    "copies": check_data.check_duplicates,
    "dropout": check_regularization.check_dropout,
    "weight decay": check_regularization.check_weight_decay,
    "augmentation": check_regularization.check_augmentation,
    "overfitting, number of images": check_regularization.check_overfitting,
    "number of epochs": check_regularization.check_too_few_epochs,
}


def suspect(found: Examination) -> list[Suspicion]:
    """Run all checks."""
    return [one for check in CHECKS.values() if (one := check(found))]
