"""The training of the networks that look for label errors."""

from lenet_pl.config_files.groups import choices
from lenet_pl.errors import SettingError, did_you_mean, printable
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.inspect import InspectSettings

# One-cycle trains in few epochs. Without augmentation or early stopping all images are used as they are.
RECIPE = ("scheduler=onecycle", "optimizer.lr=0.004", "callbacks=no_early_stopping", "logger=none")


def training_settings(settings: InspectSettings) -> TrainSettings:
    """Compose the settings of the trainings.

    Raises:
        SettingError: There is no such network.
    """
    known = choices("model")
    if settings.network not in known:
        near = did_you_mean(settings.network, known) or f"must be one of {', '.join(known)}"
        raise SettingError(f"network: got {printable(settings.network)}; {near}")
    return compose(
        "train", TrainSettings, ["run=unused", f"model={settings.network}", f"seed={settings.seed}", *RECIPE]
    )
