"""The data module and the task of a run, from its settings: the place where data, model and task meet."""

from typing import Any

import torch
from torch import nn

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.own_images import OwnImages
from lenet_pl.errors import SettingError
from lenet_pl.interruption import Interruptible
from lenet_pl.losses import Loss
from lenet_pl.model.convnet import ConvNet
from lenet_pl.model.lenet1 import LeNet1
from lenet_pl.model.lenet5_1998 import LeNet1998
from lenet_pl.settings import AnyModelSettings, LoaderSettings, TrainSettings
from lenet_pl.task import ImageClassifier

Network = ConvNet | LeNet1 | LeNet1998
ARCHITECTURES: dict[str, type[Network]] = {"convnet": ConvNet, "lenet1": LeNet1, "lenet5_1998": LeNet1998}


def as_begun(settings: TrainSettings) -> dict[str, Any]:
    """Write settings as a run records them, plain values: it does not matter to them whether it was continued, or how.

    The order of the keys is that of the settings.
    """
    plain = settings.model_dump()
    kept = {"accept_changes": False} if "accept_changes" in plain["data"] else {}
    return plain | {"resume": False, "data": plain["data"] | kept}


def build_datamodule(settings: TrainSettings, own: OwnImages | None = None) -> ImageDataModule:
    """Load the data at the size that the model wants, or the images in them that a run had."""
    return ImageDataModule(
        settings.data,
        settings.loader,
        settings.augment,
        image_size=settings.model.image_size,
        seed=settings.seed,
        limit_train_batches=settings.trainer.limit_train_batches,
        input_range=settings.input_range,
        own=own,
    )


def build_model(settings: AnyModelSettings, channels: int, classes: int) -> Network:
    """Build the network that the settings specify; see there for what can go wrong."""
    return ARCHITECTURES[settings.architecture](settings, channels, classes)  # type: ignore[arg-type]


def build_parts(
    settings: TrainSettings, interruptible: Interruptible | None = None, own: OwnImages | None = None
) -> tuple[ImageDataModule, ImageClassifier]:
    """Build the data module and the task for it; see there for what can go wrong."""
    data = build_datamodule(settings, own)
    return data, build_task(settings, data, interruptible)


def build_task(
    settings: TrainSettings,
    data: ImageDataModule,
    interruptible: Interruptible | None = None,
    kind: type[ImageClassifier] = ImageClassifier,
) -> ImageClassifier:
    """Build the model for the data's channels and classes, and the task around it.

    Raises:
        SettingError: the network does not fit the images, or the class weights do not fit the classes.
    """
    weights = settings.loss.class_weights
    if isinstance(weights, list) and len(weights) != len(data.classes):
        raise SettingError(
            f"loss.class_weights: {len(weights)} weights for {len(data.classes)} classes; accepted are balanced, or "
            "one weight per class"
        )
    model = build_model(settings.model, data.channels, len(data.classes))
    refuse_batch_of_one(model, settings.loader, len(data.train_set))
    return kind(
        model,
        classes=len(data.classes),
        optimizer=settings.optimizer,
        scheduler=settings.scheduler,
        loss=Loss(settings.loss.name, settings.loss.rubbish),
        label_smoothing=settings.loss.label_smoothing,
        class_weights=data.class_weights() if weights == "balanced" else torch.tensor(weights) if weights else None,
        gradient_clip_norm=settings.trainer.gradient_clip_norm,
        ema_decay=settings.trainer.ema_decay,
        compile_mode=settings.trainer.compile,
        seed=settings.seed,
        interruptible=interruptible,
        description={
            "settings": as_begun(settings),
            "classes": list(data.classes),
            "channels": data.channels,
            "mean": list(data.to_input.mean),
            "std": list(data.to_input.std),
            "background": data.source.background,
            "side": data.source.train.array.shape[-1],
            **({"data": data.identity.compact()} if data.identity else {}),
        },
    )


def refuse_batch_of_one(model: nn.Module, loader: LoaderSettings, images: int) -> None:
    """Raise SettingError if one image alone would reach a batch normalisation, which cannot learn from it."""
    smallest = loader.batch_size if loader.drop_last else images % loader.batch_size or loader.batch_size
    if smallest == 1 and any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules()):
        raise SettingError(
            f"loader.batch_size: {loader.batch_size} makes a batch of one of the {images} training images, which batch "
            "normalisation cannot take; accepted is another size, or loader.drop_last=true for a last batch of one"
        )
