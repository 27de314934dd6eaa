"""The training of the networks that look for label errors."""

from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.inspect import InspectSettings

# One-cycle trains in few epochs. Without augmentation or early stopping all images are used as they are.
RECIPE = ("scheduler=onecycle", "optimizer.lr=0.004", "callbacks=no_early_stopping", "logger=none")


def training_settings(settings: InspectSettings) -> TrainSettings:
    """Compose the settings of the trainings."""
    return compose(
        "train", TrainSettings, ["run=unused", f"model={settings.network}", f"seed={settings.seed}", *RECIPE]
    )
