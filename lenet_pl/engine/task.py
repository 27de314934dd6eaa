"""ImageClassifier: the LightningModule of a training, with loss, optimizer, learning-rate schedule and EMA."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lenet_pl.batch import Batch
from lenet_pl.engine.evaluation import ClassifierEvaluation
from lenet_pl.engine.partial_epoch import Step, pack, unpack
from lenet_pl.errors import DIVERGED, DivergenceError
from lenet_pl.optim.clipping import clip_and_check_gradients
from lenet_pl.optim.ema import EMAModel
from lenet_pl.optim.losses import CROSS_ENTROPY, Loss
from lenet_pl.optim.optimizers import build_optimizer
from lenet_pl.optim.schedulers import build_scheduler
from lenet_pl.runtime.seeding import keep_global, keyed_seed, seed_global
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings.types import PartSettings


class ImageClassifier(ClassifierEvaluation):
    """Training, validation and test of any network that maps images to logits.

    **Differences from a usual LightningModule.** Optimization is manual. With one process, a "batch" of `training_step`
    is an iterator over up to 20 batches, and the step takes one optimizer step for each; with several processes it is
    an iterator over one. It returns nothing. `on_train_batch_start` and `on_train_batch_end` run once per iterator,
    which they must not consume, and callbacks that count batches count iterators. The hooks `on_before_zero_grad`,
    `on_before_backward`, `on_after_backward` and `on_before_optimizer_step` only run with several processes or a
    gradient scaler. `trainer.global_step` counts optimizer steps, but `trainer.estimated_stepping_batches` counts
    iterators. Training metrics are logged at the end of the epoch. The module steps the scheduler itself. The arguments
    `gradient_clip_val` and `accumulate_grad_batches` of `lightning.Trainer` are not supported.

    The keys of `state_dict` are `model.*`, the weights after the last step, and, with EMA, `average.module.*`, the
    averaged weights, and `average.n_averaged`.

    Args:
        model: The network, float (B, C, H, W) → logits (B, K).
        classes: The number of classes, K.
        optimizer: The settings for `build_optimizer`.
        scheduler: The settings for `build_scheduler`.
        loss: The training loss; validation and test use cross entropy.
        label_smoothing: The fraction of the target that is spread over all classes, in training only.
        class_weights: The weight of each class in the training loss, float (K,); None for equal weights.
        gradient_clip_norm: The largest allowed L2 norm of the gradient; None for no gradient clipping.
        ema_decay: The decay of the EMA of the weights, which is then validated, tested and exported; None for no EMA.
        compile_mode: The mode of `torch.compile`; None to run without it.
        seed: The seed of dropout and other random numbers of the model. It is combined with epoch, step and rank.
        signals: The signal handler, checked after each optimizer step.
        description: `CheckpointMetadata` as plain values, saved as `hyper_parameters` in checkpoints.
        metrics: Further metrics by name, updated with logits and labels, logged as `val/<name>` and `test/<name>`.

    Attributes:
        average: The EMA of the weights; None without EMA, and after `swap_in_ema`.
        step_losses: The training loss () of each step of the last finished epoch, mean over all ranks.
        step_lrs: The learning rate of each step of the current epoch, until the next one starts.
        images_trained: The number of training images of this rank in the last finished epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: int,
        optimizer: PartSettings,
        scheduler: PartSettings,
        loss: Loss | Callable[[Tensor, Tensor], Tensor] = CROSS_ENTROPY,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        gradient_clip_norm: float | None = None,
        ema_decay: float | None = None,
        compile_mode: str | None = None,
        seed: int = 0,
        signals: SignalHandler | None = None,
        description: dict[str, Any] | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__(classes, metrics or {})
        self.model = model.to(memory_format=torch.channels_last)
        # Compiling the function keeps the names of the weights, and the module can still be traced and exported
        self.compiled = torch.compile(self.model.forward, mode=compile_mode) if compile_mode else None
        self.average = EMAModel(model, ema_decay) if ema_decay else None
        self.optimizer_settings, self.scheduler_settings = optimizer, scheduler
        self.loss, self.label_smoothing, self.gradient_clip_norm = loss, label_smoothing, gradient_clip_norm
        self.seed, self.signals = seed, signals or SignalHandler()
        self.automatic_optimization = False  # a training step takes several optimizer steps
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.save_hyperparameters(description or {}, logger=False)
        self._steps: list[Step] = []  # outputs of the training steps of this epoch
        self._loss = torch.zeros(())  # of the current step
        self._weights: list[float] = []  # `Batch.loss_scale` of each step
        self._before: dict[str, Any] = {}  # packed steps of the epoch in which the run was interrupted
        self._schedule: dict[str, Any] = {}  # as returned by `build_scheduler`
        self.step_losses: list[Tensor] = []
        self.step_lrs: list[float] = []
        self.images_trained = 0

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images, float (B, C, H, W), to logits (B, K); in evaluation mode with the EMA, if any."""
        averaged = self.average is not None and not self.training
        network: Any = self.average.module if averaged else self.compiled or self.model  # type: ignore[union-attr]
        return network(images)  # type: ignore[no-any-return]

    def swap_in_ema(self) -> None:
        """Replace the weights of the model with their EMA, if there is one."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
            self.average = None

    @property
    def step_in_epoch(self) -> int:
        """The number of finished optimizer steps of the current epoch."""
        return len(self.step_lrs)

    def training_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        """Take one optimizer step per batch.

        Raises:
            DivergenceError: A loss or gradient is not finite.
            Interruption: A signal arrived; raised after an optimizer step.
        """
        # DDP and the gradient scaler work through Lightning's hooks
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        learn = self._optimizer_step_with_hooks if scaled or self.trainer.world_size > 1 else self._optimizer_step
        scheduler = self._schedule["scheduler"] if self._schedule.get("interval") == "step" else None
        groups = self.trainer.optimizers[0].param_groups
        epoch = self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        self.signals.check()
        with keep_global(self.device):  # the steps leave the global random state unchanged
            for batch in batches:
                seed = keyed_seed("dropout", self.seed, epoch, self.step_in_epoch, self.global_rank)
                seed_global(seed, self.device)
                logits = self(batch.images.to(self.dtype))
                loss = self._compute_loss(logits, batch.labels)
                learn(loss if batch.loss_scale == 1 else loss * batch.loss_scale)
                self._update_ema()
                self.step_lrs.append(groups[0]["lr"])
                if scheduler:
                    scheduler.step()
                self._steps.append((loss.detach(), logits.detach().argmax(1), batch.labels))
                self._weights.append(batch.loss_scale)
                self.signals.check()

    def _compute_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if isinstance(self.loss, Loss):
            return self.loss(logits, labels, self.class_weights, self.label_smoothing)
        return self.loss(logits, labels)

    def _optimizer_step(self, loss: Tensor) -> None:
        optimizer = self.trainer.optimizers[0]
        optimizer.zero_grad()
        with torch.autocast(self.device.type, enabled=False):  # Lightning's context covers the whole training step
            loss.backward()  # type: ignore[no-untyped-call]
        self._clip(loss)
        optimizer.step()
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress  # global_step
        progress.increment_ready()
        progress.increment_completed()

    def _optimizer_step_with_hooks(self, loss: Tensor) -> None:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self._loss = loss.detach()
        self.manual_backward(loss)
        optimizer.step()

    def _update_ema(self) -> None:
        if self.average is not None:
            self.average.update_parameters(self.model)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self._clip(self._loss)

    def _clip(self, loss: Tensor) -> None:
        """Clip the gradient; raise DivergenceError if it or the loss is not finite."""
        scaled = self.trainer.precision == "16-mixed"
        if odd := clip_and_check_gradients(
            self.parameters(), loss.detach(), self.gradient_clip_norm, allow_overflow=scaled
        ):
            where = f"step {self.step_in_epoch + 1} of epoch {self.current_epoch + 1}"
            raise DivergenceError(f"{odd} in {where}, {DIVERGED}")

    def on_train_epoch_start(self) -> None:
        self._steps, self.step_lrs, self._weights = [], [], []
        if self._before:
            self._steps, self.step_lrs = unpack(self._before, self.device)
            self._before = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the step outputs of an unfinished epoch."""
        if self._steps:
            checkpoint["epoch_so_far"] = pack(self._steps, self.step_lrs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._before = checkpoint.get("epoch_so_far", {})

    def on_train_epoch_end(self) -> None:
        self.score_training()
        self._step_epoch_scheduler()

    def score_training(self) -> None:
        """Compute the training metrics of the ending epoch, once. Callbacks need them before the module's own hook."""
        if not self._steps:
            return
        losses = torch.stack([loss for loss, _, _ in self._steps])
        if self.trainer.world_size > 1:
            losses = losses * torch.tensor(self._weights, device=self.device)
            losses = self.trainer.strategy.reduce(losses, reduce_op="mean")
        self.step_losses = list(losses)
        self.images_trained = sum(len(labels) for _, _, labels in self._steps)
        self._score("train", self._steps)

    def configure_optimizers(self) -> Any:
        # Fused optimizers unscale the gradient themselves, after clipping
        fused = not (self.gradient_clip_norm and self.trainer.precision == "16-mixed")
        optimizer = build_optimizer(self.optimizer_settings, self.model.parameters(), fused=fused)
        self.trainer.fit_loop.setup_data()
        steps = self.trainer.train_dataloader.steps * self.trainer.max_epochs  # type: ignore[union-attr]
        self._schedule = build_scheduler(self.scheduler_settings, optimizer, steps) or {}
        return {"optimizer": optimizer, "lr_scheduler": self._schedule["scheduler"]} if self._schedule else optimizer

    def _step_epoch_scheduler(self) -> None:
        """Step an epoch-wise scheduler, before the checkpoint of the epoch is written."""
        if self._schedule.get("interval") == "epoch":
            metric = [self.trainer.callback_metrics[self._schedule["monitor"]]] if "monitor" in self._schedule else []
            self._schedule["scheduler"].step(*metric)
