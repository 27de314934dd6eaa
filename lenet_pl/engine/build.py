"""Build the data module, the model and the task of a run from its settings."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.loaded_data import LoadedData
from lenet_pl.data.loader import limited
from lenet_pl.data.run_images import RunImages
from lenet_pl.engine.checkpoint import CheckpointMetadata
from lenet_pl.engine.chunked import ChunkedClassifier
from lenet_pl.engine.cuda_graph import choose_cuda_graph
from lenet_pl.engine.distillation import Distillation
from lenet_pl.engine.freeze import check_frozen
from lenet_pl.engine.initial_weights import InitialWeights
from lenet_pl.engine.plugin_parts import build_metrics, build_transforms
from lenet_pl.engine.steps_per_hook import choose_steps_per_hook, why_step_hooks
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import SettingError
from lenet_pl.models.build import build_model
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.parameter_groups import parameter_groups
from lenet_pl.optim.schedulers import build_scheduler
from lenet_pl.plugins.build import build
from lenet_pl.plugins.registry import used_plugins
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import LoaderSettings, TrainSettings
from lenet_pl.settings.logger import connected_by

Distill = Callable[[TrainSettings, ImageDataModule], Distillation]


def without_resume(settings: TrainSettings) -> dict[str, Any]:
    """Convert settings to the plain values that a run records, with the settings of the command at their defaults.

    A resumed run thus records the same settings as an uninterrupted one. The keys keep the order of the settings.
    """
    plain = settings.model_dump()
    kept = {"accept_changes": False} if "accept_changes" in plain["data"] else {}
    logger = connected_by(None, settings.logger).model_dump()
    own = {"plugins": used_plugins(settings), "data": plain["data"] | kept, "logger": logger}
    return plain | {"resume": False, "n_jobs": 1} | own


def build_datamodule(
    settings: TrainSettings,
    own: RunImages | None = None,
    initial: InitialWeights | None = None,
    loaded: LoadedData | None = None,
) -> ImageDataModule:
    """Build the data module for the input size of the model, and load its data: the model depends on them.

    Args:
        settings: The training settings.
        own: The images that an earlier run recorded, to which the data are restricted; None for all images.
        initial: The initial weights, whose normalization is used; None for the statistics of the training images.
        loaded: The data, if they are loaded already.
    """
    loader = settings.loader
    data = ImageDataModule(
        settings.data,
        image_size=settings.model.image_size,
        batch_size=loader.batch_size,
        eval_batch_size=loader.eval_batch_size,
        shuffle=loader.shuffle,
        drop_last=loader.drop_last,
        augment=settings.augment,
        seed=settings.seed,
        input_range=settings.input_range,
        statistics=initial.statistics if initial else None,
        own=own,
        transforms=build_transforms(settings),
    )
    if loaded:
        data.arrange(loaded)
        return data
    data.prepare_data()
    data.setup()
    return data


def build_data_and_task(
    settings: TrainSettings,
    signals: SignalHandler | None = None,
    own: RunImages | None = None,
    callbacks: Sequence[Callback] = (),
    initial: InitialWeights | None = None,
    distill: Distill | None = None,
) -> tuple[ImageDataModule, ImageClassifier]:
    """Build the data module and its task; arguments and errors as for `build_datamodule` and `build_task`."""
    data = build_datamodule(settings, own, initial)
    return data, build_task(settings, data, signals, callbacks, initial, distill)


def build_task(
    settings: TrainSettings,
    data: ImageDataModule,
    signals: SignalHandler | None = None,
    callbacks: Sequence[Callback] = (),
    initial: InitialWeights | None = None,
    distill: Distill | None = None,
) -> ImageClassifier:
    """Build the model for the channels and classes of the data, and the task that trains it.

    Args:
        settings: The training settings.
        data: The data module.
        signals: The signal handler of the process, which the fast path checks after each step.
        callbacks: The callbacks of the caller, which may need the hooks of each step.
        initial: The initial weights; None for random ones.
        distill: A function of settings and data that builds the loss between student and teachers; None without.

    Raises:
        SettingError: The network does not fit the images or the initial weights, the number of class weights is not
            the number of classes, or a name of layers matches none.
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
    if initial:
        initial.load_into(model, data.classes, settings.model.model_dump(), reset_head=settings.reset_head)
    check_frozen(model, settings.freeze)
    decay = settings.layer_decay
    steps = choose_steps_per_hook(settings, callbacks)
    hooks = (why_step_hooks(settings, callbacks) or "trainer.steps_per_hook=1") if steps == 1 else ""
    cuda_graph = choose_cuda_graph(settings, hooks)
    kind: Callable[..., ImageClassifier] = ImageClassifier
    if steps > 1:
        kind = partial(
            ChunkedClassifier,
            steps_per_hook=steps,
            gradient_clip_val=settings.trainer.gradient_clip_val,
            gradient_clip_algorithm=settings.trainer.gradient_clip_algorithm,
            signals=signals,
            cuda_graph=cuda_graph,
        )
    # Fused optimizers unscale the gradient themselves, after clipping
    fused = not (settings.trainer.gradient_clip_val and settings.trainer.precision == "16-mixed")
    # torch's fused SGD fails if only some of its parameters have a momentum yet
    fused = fused and not (settings.unfreeze_after is not None and settings.optimizer.name == "sgd")
    scheduler: Callable[..., Any] = partial(build_scheduler, settings.scheduler)
    averaged = settings.callbacks.swa.first_epoch(settings.trainer.max_epochs)
    if averaged is not None:
        from lenet_pl.optim.swa import SWAModel, build_swa_schedule

        scheduler = partial(build_swa_schedule, settings.callbacks.swa, averaged, scheduler)
    task = kind(
        model,
        num_classes=len(data.classes),
        optimizer=partial(build_optimizer, settings.optimizer, fused=fused),
        scheduler=scheduler,
        loss=build("loss", settings.loss, num_classes=len(data.classes), class_weights=class_weights),
        metrics=build_metrics(settings, len(data.classes)),
        distillation=distill(settings, data) if distill else None,
        ema_decay=settings.callbacks.ema.decay,
        compile_mode=settings.trainer.compile_mode,
        parameter_groups=parameter_groups(model, decay) if decay is not None else None,
        seed=settings.seed,
        description=CheckpointMetadata(
            settings=without_resume(settings),
            classes=list(data.classes),
            channels=data.channels,
            mean=list(data.preprocess.mean),
            std=list(data.preprocess.std),
            background=data.source.background,
            side=data.source.train.array.shape[-1],
            data=data.record.compact() if data.record else None,
        ).to_plain(),
    )
    if averaged is not None:
        task.average = SWAModel(task.model)
    return task


def check_limits(settings: TrainSettings, data: ImageDataModule) -> None:
    """Raise SettingError for a fraction of the batches of a split that is less than one batch."""
    sizes = settings.loader.batch_size, settings.loader.eval_batch_size, settings.loader.eval_batch_size
    for name, images, size in zip(
        ("train", "val", "test"), (data.train_set, data.validation_set, data.test_set), sizes, strict=True
    ):
        key = f"limit_{name}_batches"
        limited(-(-len(images) // size), getattr(settings.trainer, key), f"trainer.{key}")
        if name != "test" and isinstance(settings.trainer.overfit_batches, float):
            limited(-(-len(images) // size), settings.trainer.overfit_batches or None, "trainer.overfit_batches")


def check_batch_norm_batch_size(model: nn.Module, loader: LoaderSettings, images: int) -> None:
    """Raise SettingError if a training batch of one image would reach batch normalization, which needs two."""
    smallest = loader.batch_size if loader.drop_last else images % loader.batch_size or loader.batch_size
    if smallest == 1 and any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules()):
        raise SettingError(
            f"loader.batch_size: got {loader.batch_size}, which leaves a batch with one of the {images} training "
            "images, too small for batch normalization; must be another size, or use loader.drop_last=true to drop it"
        )
