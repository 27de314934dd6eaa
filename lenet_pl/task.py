"""ImageClassifier: what is learned, how it is scored, and when the learning rate changes."""

import math
from collections.abc import Iterable
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lenet_pl.averaging import WeightAverage
from lenet_pl.batch import Batch
from lenet_pl.errors import DIVERGED, DivergenceError
from lenet_pl.gradients import clip_gradient
from lenet_pl.interruption import Interruptible
from lenet_pl.losses import CROSS_ENTROPY, Loss
from lenet_pl.optimizers import build_optimizer, build_scheduler
from lenet_pl.random_numbers import keep_global, keyed_seed, seed_global
from lenet_pl.settings import Settings
from lenet_pl.unfinished_epoch import Step, pack, unpack


class ImageClassifier(lightning.LightningModule):
    """A loss of logits, accuracy, an optimizer and a scheduler around any model.

    What a step computes stays on the device until the epoch ends; metrics and logs are made from it once an epoch.

    Args:
        model: float (B, C, H, W) → logits (B, K).
        classes: K.
        optimizer: settings of one of the kinds in `conf/optimizer/`.
        scheduler: settings of one of the kinds in `conf/scheduler/`.
        loss: of training; validation and test have cross entropy.
        label_smoothing: share of the target that is spread over all classes; in training only.
        class_weights: float (K,), weight of each class in the training loss.
        gradient_clip_norm: largest norm of the whole gradient; None: any.
        ema_decay: of the average of the weights, which is then validated, tested and kept; None: none.
        compile_mode: of torch.compile; None runs the model as it is.
        seed: with epoch, step and rank it fixes what the model draws in a step, for dropout or whatever else.
        interruptible: is asked after each step whether a signal has come.
        description: plain JSON values that the checkpoint keeps, enough to build all this again.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: int,
        optimizer: Settings,
        scheduler: Settings,
        loss: Loss = CROSS_ENTROPY,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        gradient_clip_norm: float | None = None,
        ema_decay: float | None = None,
        compile_mode: str | None = None,
        seed: int = 0,
        interruptible: Interruptible | None = None,
        description: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        # The function, not the module, so that names of weights stay and the model can still be traced and exported
        self.compiled = torch.compile(self.model.forward, mode=compile_mode) if compile_mode else None
        self.average = WeightAverage(model, ema_decay) if ema_decay else None
        self.optimizer_settings, self.scheduler_settings = optimizer, scheduler
        self.loss, self.label_smoothing, self.gradient_clip_norm = loss, label_smoothing, gradient_clip_norm
        self.seed, self.interruptible = seed, interruptible or Interruptible()
        self.automatic_optimization = False  # a training step of Lightning's takes several optimizer steps
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.save_hyperparameters(description or {}, logger=False)
        # Both are of the part and epoch that is being scored. By default MeanMetric would leave NaN out.
        self.mean_loss = MeanMetric(nan_strategy=math.nan)
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self._steps: list[Step] = []  # of training
        self._evaluated: list[Step] = []  # of validation or test
        self._loss = torch.zeros(())  # of the step that is being taken
        self._weights: list[float] = []  # of each training step's loss among those of all ranks
        self._before: dict[str, Any] = {}  # what was done of an epoch before the run was interrupted in it
        self._schedule: dict[str, Any] = {}  # of the lr: scheduler, interval, monitor
        self._logits: list[Tensor] = []
        self.test_logits: Tensor | None = None  # float (N, K) and int64 (N,), in the order of the test part
        self.test_labels: Tensor | None = None
        self.step_losses: list[Tensor] = []  # of the epoch that ended last
        self.step_rates: list[float] = []  # lr of each step of the current epoch, or of the one that ended last
        self.images_trained = 0  # in the epoch that ended last, on this rank

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images, float (B, C, H, W), to logits (B, K), outside of training by the averaged weights."""
        network: Any = self.compiled or self.model
        if self.average is not None and not self.training:
            network = self.average.module
        logits: Tensor = network(images)
        return logits

    def keep_average(self) -> None:
        """Make the average, if there is one, the network."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
            self.average = None

    @property
    def steps_done(self) -> int:
        """Count the optimizer steps of the current epoch so far."""
        return len(self.step_rates)

    def training_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Take one optimizer step for each of the batches."""
        # With several processes or scaled gradients Lightning has to come between
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        learn = self._learn_through_lightning if scaled or self.trainer.world_size > 1 else self._learn
        scheduler = self._schedule["scheduler"] if self._schedule.get("interval") == "step" else None
        groups = self.trainer.optimizers[0].param_groups
        epoch = self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        self.interruptible.check()
        with keep_global(self.device):  # callbacks and what comes after draw as if no step had been taken
            for batch in batches:
                seed = keyed_seed("dropout", self.seed, epoch, self.steps_done, self.global_rank)
                seed_global(seed, self.device)
                logits = self(batch.images.to(self.dtype))
                loss = self.loss(logits, batch.labels, self.class_weights, self.label_smoothing)
                learn(loss if batch.weight == 1 else loss * batch.weight)
                self._update_average()
                self.step_rates.append(groups[0]["lr"])
                if scheduler:
                    scheduler.step()
                self._steps.append((loss.detach(), logits.detach().argmax(1), batch.labels))
                self._weights.append(batch.weight)
                self.interruptible.check()

    def _learn(self, loss: Tensor) -> None:
        optimizer = self.trainer.optimizers[0]
        optimizer.zero_grad()
        with torch.autocast(self.device.type, enabled=False):  # Lightning's own is around the whole training step
            loss.backward()  # type: ignore[no-untyped-call]
        self._clip(loss)
        optimizer.step()
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress  # global_step
        progress.increment_ready()
        progress.increment_completed()

    def _learn_through_lightning(self, loss: Tensor) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self._loss = loss.detach()
        self.manual_backward(loss)
        optimizer.step()

    def _update_average(self) -> None:
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self._clip(self._loss)

    def _clip(self, loss: Tensor) -> None:
        """Clip the gradient; raise DivergenceError, before a weight changes, if it or the loss is no finite number."""
        scaled = self.trainer.precision == "16-mixed"
        if odd := clip_gradient(self.parameters(), loss.detach(), self.gradient_clip_norm, scaled=scaled):
            raise DivergenceError(f"{odd} in step {self.steps_done + 1} of epoch {self.current_epoch + 1}, {DIVERGED}")

    def on_train_epoch_start(self) -> None:
        self._steps, self.step_rates, self._weights = [], [], []
        if self._before:
            self._steps, self.step_rates = unpack(self._before, self.device)
            self._before = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the scores of an unfinished epoch need."""
        if self._steps:
            checkpoint["epoch_so_far"] = pack(self._steps, self.step_rates)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._before = checkpoint.get("epoch_so_far", {})

    def on_train_epoch_end(self) -> None:
        self.score_training()
        self._step_epoch_scheduler()

    def score_training(self) -> None:
        """Score the training of the epoch that ends, once; for callbacks, which Lightning calls before the module."""
        if not self._steps:
            return
        losses = torch.stack([loss for loss, _, _ in self._steps])
        if self.trainer.world_size > 1:
            losses = losses * torch.tensor(self._weights, device=self.device)
            losses = self.trainer.strategy.reduce(losses, reduce_op="mean")
        self.step_losses = list(losses)
        self.images_trained = sum(len(labels) for _, _, labels in self._steps)
        self._score("train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch)

    def on_validation_epoch_start(self) -> None:
        self._evaluated.clear()

    def on_validation_epoch_end(self) -> None:
        self._score("val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._logits.append(self._evaluation_step(batch).float())

    def on_test_epoch_start(self) -> None:
        self._evaluated.clear()
        self._logits.clear()

    def on_test_epoch_end(self) -> None:
        labels = torch.cat([labels for _, _, labels in self._evaluated])
        self.test_logits, self.test_labels = self._gather(torch.cat(self._logits)), self._gather(labels)
        self._score("test")

    def configure_optimizers(self) -> Any:
        # A fused optimizer takes the scale off the gradients itself, too late for clipping
        fused = not (self.gradient_clip_norm and self.trainer.precision == "16-mixed")
        optimizer = build_optimizer(self.optimizer_settings, self.model.parameters(), fused=fused)
        self.trainer.fit_loop.setup_data()
        steps = self.trainer.train_dataloader.steps * self.trainer.max_epochs  # type: ignore[union-attr]
        self._schedule = build_scheduler(self.scheduler_settings, optimizer, steps) or {}
        return {"optimizer": optimizer, "lr_scheduler": self._schedule["scheduler"]} if self._schedule else optimizer

    def _step_epoch_scheduler(self) -> None:
        """Change the lr before the checkpoint of the epoch is written."""
        if self._schedule.get("interval") == "epoch":
            metric = [self.trainer.callback_metrics[self._schedule["monitor"]]] if "monitor" in self._schedule else []
            self._schedule["scheduler"].step(*metric)

    def _evaluation_step(self, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):  # in full precision, as every verb will ask it
            logits: Tensor = self(batch.images)
        self._evaluated.append((functional.cross_entropy(logits, batch.labels), logits.argmax(1), batch.labels))
        return logits

    def _score(self, part: str) -> None:
        """Turn the steps of an epoch into `part`/loss and `part`/accuracy, over all images and all ranks."""
        steps = self._steps if part == "train" else self._evaluated
        losses, predictions, labels = zip(*steps, strict=True)
        sizes = torch.tensor([float(len(p)) for p in predictions], device=self.device)
        self.mean_loss.update(torch.stack(losses).float(), sizes)
        self.accuracy.update(torch.cat(predictions), torch.cat(labels))
        scores = {f"{part}/loss": self.mean_loss.compute(), f"{part}/accuracy": self.accuracy.compute()}
        if not torch.isfinite(mean := scores[f"{part}/loss"]):
            raise DivergenceError(f"{part}/loss: {float(mean)} in epoch {self.current_epoch + 1}, {DIVERGED}")
        self.log_dict(scores, prog_bar=True, sync_dist=self.trainer.world_size > 1)
        self.log("step", float(self.trainer.global_step))  # or loggers would count Lightning's steps
        self.mean_loss.reset()
        self.accuracy.reset()
        steps.clear()

    def _gather(self, values: Tensor) -> Tensor:
        """Put together what the ranks have; each scored one stretch of the set."""
        parts: list[Any] = [values.cpu()] * self.trainer.world_size
        if len(parts) > 1:
            torch.distributed.all_gather_object(parts, parts[0])
        return torch.cat(parts)
