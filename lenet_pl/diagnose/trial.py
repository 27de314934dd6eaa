"""Short trainings: the training of a run repeated for some steps, as it was or with one change."""

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor, nn

from lenet_pl.data.image_dataset import ImageDataset
from lenet_pl.data.transform import Preprocess
from lenet_pl.diagnose.changes import Change
from lenet_pl.diagnose.recorded_run import RecordedRun, sample
from lenet_pl.engine.metrics_history import MetricsHistory
from lenet_pl.engine.trainer import build_trainer, ranked, silence_lightning_logs
from lenet_pl.errors import DivergenceError
from lenet_pl.runtime.signals import SignalHandler

IMAGES = 1000  # images of each split that judge a short training; the standard error is then at most 1.6 points
BLOCK = 250  # images in a forward pass
FIRST_STEPS = 5  # steps whose gradients are recorded for each layer; one batch alone says little


@dataclass(frozen=True)
class Score:
    """Mean cross entropy in nats and accuracy, in evaluation mode."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Trial:
    """A short training.

    Attributes:
        steps: The number of optimizer steps that were taken.
        losses: The training loss of each step.
        gradient_norms: The norm of the whole gradient before each step.
        weight_norms: The norm of all weights (not biases) before each step.
        first_gradients: The norm of the gradient of each weight by its name, mean over the first steps.
        train: The score on training images.
        validation: The score on validation images.
        images: The number of validation images.
        train_mode: The accuracy on the same training images in training mode, with dropout and batch statistics.
        diverged: Why the training ended early; "" if it did not.
        seconds: Its wall time.
        network: The trained network, in evaluation mode.
    """

    steps: int
    losses: list[float]
    gradient_norms: list[float]
    weight_norms: list[float]
    first_gradients: dict[str, float]
    train: Score
    validation: Score
    images: int
    train_mode: float
    diverged: str
    seconds: float
    network: nn.Module = field(repr=False)


class EnoughError(Exception):
    """A short training has taken its steps."""


class Watch(Callback):
    """Callback that records loss and gradients, and ends a training after some steps or seconds.

    Raises:
        EnoughError: The steps are taken.
    """

    def __init__(self, steps: int, seconds: float, signals: SignalHandler | None = None) -> None:
        self.signals = signals
        self.limit, self.until = steps, time.perf_counter() + seconds
        self.losses: list[Tensor] = []
        self.gradients: list[Tensor] = []  # norm for each weight
        self.weights: list[Tensor] = []
        self.names: list[str] = []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.signals:  # Lightning has just installed its handlers
            self.signals.install()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        named = [(name, p) for name, p in pl_module.model.named_parameters() if p.ndim > 1]
        self.names = [name for name, _ in named]
        with torch.no_grad():
            weights = [p for _, p in named]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]
            self.gradients.append(torch.stack(torch._foreach_norm(gradients)))
            self.weights.append(torch.stack(torch._foreach_norm(weights)).norm())

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(pl_module.last_loss)
        if trainer.global_step >= self.limit or (len(self.losses) >= FIRST_STEPS and time.perf_counter() > self.until):
            raise EnoughError


def train_briefly(
    run: RecordedRun,
    steps: int,
    change: Change | None = None,
    *,
    seconds: float = math.inf,
    seed: int | None = None,
    callbacks: Sequence[Callback] = (),
    signals: SignalHandler | None = None,
) -> Trial:
    """Repeat the training of a run for some steps: with the weights, batches and schedule of its seed.

    Args:
        run: The run.
        steps: The largest number of optimizer steps.
        change: Settings that are changed.
        seconds: The largest wall time; at least `FIRST_STEPS` steps are taken.
        seed: Another seed of weights and batches.
        callbacks: Further callbacks, which may end it with EnoughError.
        signals: The signal handler of the process.

    Raises:
        SettingError: The change does not fit the run.
    """
    start = time.perf_counter()
    seeded = {} if seed is None else {"seed": seed}
    settings, initial = run.changed((change or {}) | seeded)
    data, task = run.build(settings, initial, signals)
    watch = Watch(steps, seconds, signals)
    diverged = ""
    silence_lightning_logs()
    with tempfile.TemporaryDirectory() as place, ranked(0), contextlib.redirect_stdout(io.StringIO()):
        trainer = build_trainer(settings, Path(place), [watch, *callbacks], signals)
        callbacks_of: Any = trainer  # an attribute that Lightning does not declare
        callbacks_of.callbacks = [
            one for one in callbacks_of.callbacks if not isinstance(one, Checkpoint | MetricsHistory)
        ]
        try:
            trainer.fit(task, data)
        except EnoughError:
            pass
        except DivergenceError as error:
            diverged = str(error)
    network = task.model
    seen, held_out = sample(data.train_set, IMAGES, "diagnose"), sample(data.validation_set, IMAGES, "diagnose")
    noisy = _predict(network.train(), data.preprocess, seen, settings.loader.batch_size)
    train_mode = float((noisy.argmax(1) == seen.labels[: len(noisy)]).double().mean()) if len(noisy) else math.nan
    network.eval()
    stacked = torch.stack(watch.gradients) if watch.gradients else torch.zeros(0, 0)
    first = stacked[:FIRST_STEPS].mean(0).tolist() if len(stacked) else []
    return Trial(
        len(watch.losses),
        torch.stack(watch.losses).tolist() if watch.losses else [],
        stacked.norm(dim=1).tolist() if len(stacked) else [],
        torch.stack(watch.weights).tolist() if watch.weights else [],
        dict(zip(watch.names, first, strict=False)),
        score(network, data.preprocess, seen),
        score(network, data.preprocess, held_out),
        len(held_out),
        train_mode,
        diverged,
        time.perf_counter() - start,
        network,
    )


def score(network: nn.Module, preprocess: Preprocess, images: ImageDataset) -> Score:
    """Score a network in evaluation mode. Logits that are not finite count as an infinite loss."""
    logits = _predict(network, preprocess, images, BLOCK)
    loss = float(nn.functional.cross_entropy(logits, images.labels))
    right = (logits.nan_to_num().argmax(1) == images.labels).double().mean()
    return Score(loss if math.isfinite(loss) else math.inf, float(right))


def _predict(network: nn.Module, preprocess: Preprocess, images: ImageDataset, batch_size: int) -> Tensor:
    """Compute logits, float (N, K); in training mode without a last batch that is smaller than the others."""
    training, dtype = network.training, next(network.parameters()).dtype
    size = min(batch_size, len(images))
    whole = len(images) // size * size if training else len(images)
    state = {name: value.clone() for name, value in network.state_dict().items()} if training else {}
    with torch.no_grad():
        blocks = (images[slice(k, min(k + size, whole))].images for k in range(0, whole, size))
        logits = torch.cat([network(preprocess(block).to(dtype)).float() for block in blocks])
    if training:  # batch normalization has counted these images
        network.load_state_dict(state)
    return logits
