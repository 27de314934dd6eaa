"""Every setting with its type, unit and range. Defaults are in `conf/` alone; importing this is fast.

A composed configuration is validated as `TrainSettings`, or rejected with the key, before anything else happens. The
same classes validate the settings in a checkpoint. All values are plain JSON types.
"""

from lenet_pl.settings.augment import AugmentSettings
from lenet_pl.settings.callbacks import CallbacksSettings, CheckpointSettings, EarlyStoppingSettings
from lenet_pl.settings.data import (
    AnyDataSettings,
    ArraysDataSettings,
    DataSettings,
    DigitsDataSettings,
    EmnistDataSettings,
    FakeDataSettings,
    FolderDataSettings,
    FoldSettings,
    LoaderSettings,
    NamedDataSettings,
    SplitSettings,
)
from lenet_pl.settings.logger import LoggerSettings, MlflowSettings, WandbSettings
from lenet_pl.settings.model import AnyModelSettings, ConvNetSettings, LeNet1Settings, LeNet1998Settings
from lenet_pl.settings.optim import (
    AdamSettings,
    AnyLossSettings,
    AnyOptimizerSettings,
    LossSettings,
    RmspropSettings,
    ScheduleFreeAdamWSettings,
    ScheduleFreeSgdSettings,
    SdlmSettings,
    SgdSettings,
)
from lenet_pl.settings.schedule import (
    AnySchedulerSettings,
    CosineRestartsSettings,
    CosineSettings,
    ExponentialSettings,
    LinearSettings,
    MultiStepSettings,
    NoSchedulerSettings,
    OneCycleSettings,
    PiecewiseConstantSettings,
    PlateauSettings,
    PolynomialSettings,
    SchedulerSettings,
    StepSettings,
)
from lenet_pl.settings.train import TrainSettings
from lenet_pl.settings.trainer import TrainerSettings
from lenet_pl.settings.types import Settings
from lenet_pl.settings.validation import nearest_key, setting_keys, validate

__all__ = [
    "AdamSettings",
    "AnyDataSettings",
    "AnyLossSettings",
    "AnyModelSettings",
    "AnyOptimizerSettings",
    "AnySchedulerSettings",
    "ArraysDataSettings",
    "AugmentSettings",
    "CallbacksSettings",
    "CheckpointSettings",
    "ConvNetSettings",
    "CosineRestartsSettings",
    "CosineSettings",
    "DataSettings",
    "DigitsDataSettings",
    "EarlyStoppingSettings",
    "EmnistDataSettings",
    "ExponentialSettings",
    "FakeDataSettings",
    "FoldSettings",
    "FolderDataSettings",
    "LeNet1Settings",
    "LeNet1998Settings",
    "LinearSettings",
    "LoaderSettings",
    "LoggerSettings",
    "LossSettings",
    "MlflowSettings",
    "MultiStepSettings",
    "NamedDataSettings",
    "NoSchedulerSettings",
    "OneCycleSettings",
    "PiecewiseConstantSettings",
    "PlateauSettings",
    "PolynomialSettings",
    "RmspropSettings",
    "ScheduleFreeAdamWSettings",
    "ScheduleFreeSgdSettings",
    "SchedulerSettings",
    "SdlmSettings",
    "Settings",
    "SgdSettings",
    "SplitSettings",
    "StepSettings",
    "TrainSettings",
    "TrainerSettings",
    "WandbSettings",
    "nearest_key",
    "setting_keys",
    "validate",
]
