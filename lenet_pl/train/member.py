"""One of several trainings that share their images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.run_images import RunImages
from lenet_pl.engine.build import Distill, build_task
from lenet_pl.engine.initial_weights import InitialWeights
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import TrainSettings


@dataclass(frozen=True)
class Member:
    """One of several trainings.

    Attributes:
        title: What distinguishes it, such as "seed 0".
        folder: Its run folder.
        settings: Its settings.
        data: Its data module, whose images are shared with the others.
    """

    title: str
    folder: Path
    settings: TrainSettings
    data: ImageDataModule


def quiet_after_first(settings: TrainSettings, number: int) -> TrainSettings:
    """Return the settings of the training with a number from 1: only the first one shows the summary of the network."""
    callbacks = settings.callbacks
    if number == 1 or callbacks.progress_bar:
        return settings
    quiet = callbacks.model_copy(update={"progress_bar": False, "model_summary": False})
    return settings.model_copy(update={"callbacks": quiet})


def build_member(
    data: ImageDataModule,
    initial: InitialWeights | None,
    settings: TrainSettings,
    signals: SignalHandler,
    own: RunImages | None = None,
    callbacks: Sequence[Any] = (),
    distill: Distill | None = None,
) -> tuple[ImageDataModule, ImageClassifier]:
    """Return the data module and a task, or raise DataError if the run was started with different images."""
    if own and data.record:
        own.refuse_others(data.record)
    return data, build_task(settings, data, signals, callbacks, initial, distill)
