"""Build the data module, the model and the task of a run from its settings."""

from typing import Any

import torch
from torch import nn

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.loader import limited
from lenet_pl.data.run_images import RunImages
from lenet_pl.engine.checkpoint import CheckpointMetadata
from lenet_pl.engine.plugged import build_metrics, build_transforms, check_network
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import SettingError
from lenet_pl.plugins.build import build, entry_of
from lenet_pl.plugins.registry import used_plugins
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import AnyModelSettings, LoaderSettings, TrainSettings


def without_resume(settings: TrainSettings) -> dict[str, Any]:
    """Convert settings to the plain values that a run records, with the resume options at their defaults.

    A resumed run thus records the same settings as an uninterrupted one. The keys keep the order of the settings.
    """
    plain = settings.model_dump()
    kept = {"accept_changes": False} if "accept_changes" in plain["data"] else {}
    return plain | {"resume": False, "plugins": used_plugins(settings), "data": plain["data"] | kept}


def build_datamodule(settings: TrainSettings, own: RunImages | None = None) -> ImageDataModule:
    """Build the data module for the input size of the model.

    Args:
        settings: The training settings.
        own: The images that an earlier run recorded, to which the data are restricted; None for all images.
    """
    return ImageDataModule(
        settings.data,
        settings.loader,
        settings.augment,
        image_size=settings.model.image_size,
        seed=settings.seed,
        limit_train_batches=settings.trainer.limit_train_batches,
        input_range=settings.input_range,
        own=own,
        transforms=build_transforms(settings),
    )


def build_model(settings: AnyModelSettings, channels: int, classes: int) -> nn.Module:
    """Build a network with random weights.

    Args:
        settings: The settings of the model; `architecture` chooses the class.
        channels: 1 for gray images, 3 for color images.
        classes: The number of classes, K.

    Raises:
        SettingError: The layers do not fit the image size, or the network of a plug-in does not map images to logits.
    """
    sizes = {"channels": channels, "in_channels": channels, "num_classes": classes, "classes": classes}
    model: nn.Module = build("model", settings, **sizes)
    if entry_of("model", settings).plugin:
        check_network(model, settings, channels, classes)
    return model


def build_data_and_task(
    settings: TrainSettings, signals: SignalHandler | None = None, own: RunImages | None = None
) -> tuple[ImageDataModule, ImageClassifier]:
    """Build the data module and its task; arguments and errors as for `build_datamodule` and `build_task`."""
    data = build_datamodule(settings, own)
    return data, build_task(settings, data, signals)


def build_task(
    settings: TrainSettings,
    data: ImageDataModule,
    signals: SignalHandler | None = None,
) -> ImageClassifier:
    """Build the model for the channels and classes of the data, and the task that trains it.

    Raises:
        SettingError: The network does not fit the images, or the number of class weights is not the number of classes.
    """
    weights = getattr(settings.loss, "class_weights", None)  # losses of plug-ins have settings of their own
    if isinstance(weights, list) and len(weights) != len(data.classes):
        raise SettingError(
            f"loss.class_weights: got {len(weights)} weights for {len(data.classes)} classes; must be balanced, or one "
            "weight per class"
        )
    check_limits(settings, data)
    model = build_model(settings.model, data.channels, len(data.classes))
    class_weights = data.class_weights() if weights == "balanced" else torch.tensor(weights) if weights else None
    check_batch_norm_batch_size(model, settings.loader, len(data.train_set))
    return ImageClassifier(
        model,
        classes=len(data.classes),
        optimizer=settings.optimizer,
        scheduler=settings.scheduler,
        loss=build("loss", settings.loss, num_classes=len(data.classes), class_weights=class_weights),
        label_smoothing=getattr(settings.loss, "label_smoothing", 0.0),
        class_weights=class_weights,
        metrics=build_metrics(settings, len(data.classes)),
        gradient_clip_norm=settings.trainer.gradient_clip_val,
        ema_decay=settings.callbacks.ema.decay,
        compile_mode=settings.trainer.compile_mode,
        seed=settings.seed,
        signals=signals,
        description=CheckpointMetadata(
            settings=without_resume(settings),
            classes=list(data.classes),
            channels=data.channels,
            mean=list(data.preprocess.mean),
            std=list(data.preprocess.std),
            background=data.source.background,
            side=data.source.train.array.shape[-1],
            data=data.identity.compact() if data.identity else None,
        ).to_plain(),
    )


def check_limits(settings: TrainSettings, data: ImageDataModule) -> None:
    """Raise SettingError for a fraction of the batches of a split that is less than one batch."""
    sizes = settings.loader.batch_size, settings.loader.eval_batch_size, settings.loader.eval_batch_size
    for name, images, size in zip(
        ("train", "val", "test"), (data.train_set, data.validation_set, data.test_set), sizes, strict=True
    ):
        key = f"limit_{name}_batches"
        limited(-(-len(images) // size), getattr(settings.trainer, key), f"trainer.{key}")


def check_batch_norm_batch_size(model: nn.Module, loader: LoaderSettings, images: int) -> None:
    """Raise SettingError if a training batch of one image would reach batch normalization, which needs two."""
    smallest = loader.batch_size if loader.drop_last else images % loader.batch_size or loader.batch_size
    if smallest == 1 and any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules()):
        raise SettingError(
            f"loader.batch_size: got {loader.batch_size}, which leaves a batch with one of the {images} training "
            "images, too small for batch normalization; must be another size, or use loader.drop_last=true to drop it"
        )
