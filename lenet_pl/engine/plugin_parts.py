"""Metrics, transforms, callbacks and loggers of a run, of which it has any number, and checks of plug-ins' parts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from torchmetrics import Metric
from torchvision.transforms import v2

from lenet_pl.data.callable_augment import CallableAugment
from lenet_pl.errors import SettingError
from lenet_pl.plugins.build import build
from lenet_pl.plugins.kinds import KINDS
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.types import PartSettings


def build_metrics(settings: TrainSettings, num_classes: int) -> dict[str, Metric]:
    """Build the further metrics of a training by name."""
    return _build_all("metric", settings.metrics, Metric, num_classes=num_classes)


def build_extra_callbacks(settings: TrainSettings, folder: Path) -> list[Callback]:
    """Build the further callbacks of a training in the order of the settings."""
    return list(_build_all("callback", settings.extra_callbacks, Callback, folder=folder).values())


def build_extra_loggers(settings: TrainSettings, folder: Path) -> list[Logger]:
    """Build the further loggers of a training, which may write to the run folder."""
    return list(_build_all("logger", settings.extra_loggers, Logger, folder=folder, save_dir=str(folder)).values())


def build_transforms(settings: TrainSettings) -> list[CallableAugment]:
    """Build the further transforms of training batches, whose errors name them."""
    transforms: dict[str, Any] = _build_all("transform", settings.transforms, Callable)
    for name, transform in transforms.items():
        if isinstance(transform, v2.CutMix | v2.MixUp):
            raise SettingError(f"transforms: {name} mixes labels, which transforms do not get; must change images only")
    return [CallableAugment(transform, name=f"transforms: {name}") for name, transform in transforms.items()]


def _build_all(kind: str, parts: Mapping[str, PartSettings], wanted: Any, **context: Any) -> dict[str, Any]:
    """Build all parts of a kind, and check what they are."""
    built = {name: build(kind, part, **context) for name, part in parts.items()}
    for name, part in built.items():
        if not (callable(part) if wanted is Callable else isinstance(part, wanted)):
            must = "callable" if wanted is Callable else f"a {wanted.__module__}.{wanted.__name__}"
            raise SettingError(f"{KINDS[kind].group}: {name} returns {type(part).__name__}; must be {must}")
    return built
