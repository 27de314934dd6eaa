"""Measurements of the loss around the weights at the end of every few epochs, without an effect on the training.

They are of the training loss on training images without augmentation, with the network in evaluation mode: batch
normalization uses its running statistics, and dropout is off.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import lightning
from lightning.pytorch.callbacks import Callback
from torch import nn

from lenet_pl.batch import Batch
from lenet_pl.data.loader import BatchLoader
from lenet_pl.engine.metrics_history import MetricsHistory
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import SettingError
from lenet_pl.optim.loss_surface import LossSurface, gradient_noise
from lenet_pl.runtime.seeding import keyed_seed


class Diagnostic(Callback):
    """A measurement after every `every_n_epochs` epochs, logged and added to metrics.csv.

    Args:
        every_n_epochs: The number of epochs from one measurement to the next.
    """

    def __init__(self, every_n_epochs: int) -> None:
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        assert isinstance(pl_module, ImageClassifier)
        loader = trainer.train_dataloader
        if not isinstance(loader, BatchLoader):
            raise SettingError(f"{type(self).__name__}: needs the loader of an ImageDataModule")
        begin = time.perf_counter()
        with evaluating(pl_module.model):
            measured = self.measure(pl_module, loader, trainer.current_epoch)
        values = {name: float(f"{value:.6g}") for name, value in measured.items() if math.isfinite(value)}
        pl_module.log_dict(values, batch_size=1)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, MetricsHistory):
                callback.add(trainer, values, time.perf_counter() - begin)

    def measure(self, task: ImageClassifier, loader: BatchLoader, epoch: int) -> dict[str, float]:
        """Measure values by name; those that are not finite are left out."""
        raise NotImplementedError


class GradientNoise(Diagnostic):
    """Gradient noise scale: about the batch size from which on larger batches save few steps.

    Logs `gradient_noise/trace`, the sum of the variances of the gradient of a single image, `gradient_noise/norm_sq`,
    the squared norm of the mean gradient, and `gradient_noise/scale`, their quotient, where the norm is positive.

    Args:
        every_n_epochs: The number of epochs from one measurement to the next.
        images: The number of images of the large batch, which are other ones in each measurement.
        batch_size: The number of images of each of the small batches into which it is divided.

    Source: McCandlish et al. 2018, "An empirical model of large-batch training", appendix A.1.
    """

    def __init__(self, every_n_epochs: int, images: int, batch_size: int) -> None:
        super().__init__(every_n_epochs)
        self.images, self.batch_size = images, batch_size

    def measure(self, task: ImageClassifier, loader: BatchLoader, epoch: int) -> dict[str, float]:
        many = min(self.images, len(loader.images)) // self.batch_size
        if many < 2:
            raise SettingError(
                f"gradient_noise.batch_size: got {self.batch_size} for {len(loader.images)} training images; must be "
                "at most half of them"
            )
        batches = zip(loader.plain_batches(self.batch_size, epoch), range(many), strict=False)
        trace, norm_sq = gradient_noise((_surface(task, batch).gradient() for batch, _ in batches), self.batch_size)
        scale = trace / norm_sq if norm_sq > 0 else math.nan
        names = ("trace", "norm_sq", "scale")
        return {f"gradient_noise/{name}": value for name, value in zip(names, (trace, norm_sq, scale), strict=True)}


class Sharpness(Diagnostic):
    """Sharpness of the loss at the weights, on the same images each time.

    Logs `sharpness/max_eigenvalue`, the largest eigenvalue of the Hessian, and `sharpness/loss_rise`, the rise of the
    loss after a step of length `radius` along the gradient.

    Args:
        every_n_epochs: The number of epochs from one measurement to the next.
        images: The number of images.
        radius: The radius of the ball within which the loss rises.
        tolerance: The relative accuracy of the eigenvalue.

    Source: Cohen et al. 2021, "Gradient descent on neural networks typically occurs at the edge of stability". Foret et
    al. 2021, "Sharpness-aware minimization for efficiently improving generalization", equation 2.
    """

    def __init__(self, every_n_epochs: int, images: int, radius: float, tolerance: float) -> None:
        super().__init__(every_n_epochs)
        self.images, self.radius, self.tolerance = images, radius, tolerance

    def measure(self, task: ImageClassifier, loader: BatchLoader, epoch: int) -> dict[str, float]:
        batch = next(loader.plain_batches(min(self.images, len(loader.images))))
        surface = _surface(task, batch)
        found = surface.largest_eigenvalue(self.tolerance, keyed_seed("sharpness", task.seed))
        return {"sharpness/max_eigenvalue": found, "sharpness/loss_rise": surface.rise(self.radius)}


def _surface(task: ImageClassifier, batch: Batch) -> LossSurface:
    return LossSurface(task.model, task.loss, batch.images.to(task.dtype), batch.labels)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode, and every module back to its own mode on exit."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
