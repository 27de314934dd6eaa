"""ImageClassifier: the LightningModule of a training, with loss, optimizer, learning-rate schedule and EMA."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel
from torchmetrics import Metric

from lenet_pl.batch import Batch, MixedLabels
from lenet_pl.data.trainer_state import finished_epochs
from lenet_pl.engine.distillation import Distillation
from lenet_pl.engine.evaluation import ClassifierEvaluation
from lenet_pl.engine.loop_state import LoopState
from lenet_pl.engine.lr_schedule import build_schedule, step_plateau
from lenet_pl.engine.partial_epoch import Step, pack, unpack
from lenet_pl.optim.clipping import clip_gradients
from lenet_pl.optim.ema import EMAModel
from lenet_pl.optim.mixed_loss import mixed_loss
from lenet_pl.optim.parameter_groups import scale_learning_rates
from lenet_pl.runtime.seeding import keep_global, keyed_seed, seed_global

BuildOptimizer = Callable[[Iterable[Any]], Optimizer]
BuildScheduler = Callable[..., Any]
ADAM = partial(torch.optim.Adam, lr=1e-3)


class ImageClassifier(ClassifierEvaluation):
    """Training, validation and test of any network that maps images to logits.

    A LightningModule with automatic optimization, for any `lightning.Trainer` with any callbacks and loggers. Batches
    are pairs of images, float (B, C, H, W), and labels, int64 (B,), from `ImageDataModule` or any other loader.

    The random numbers of each step, such as those of dropout, depend on seed, epoch, step and rank alone. The state of
    an unfinished epoch is part of checkpoints, so that a run that is resumed within an epoch reports the metrics of the
    whole epoch.

    The keys of `state_dict` are `model.*`, the weights after the last step, and, with EMA or SWA, `average.module.*`,
    the averaged weights, and `average.n_averaged`.

    Args:
        model: The network, float (B, C, H, W) → logits (B, K).
        num_classes: The number of classes, K.
        optimizer: A function of the parameters that builds the optimizer; by default Adam with lr 0.001.
        scheduler: A function of the optimizer and the number of optimizer steps of the training that builds the
            learning-rate scheduler: a torch scheduler, which is stepped every epoch, or Lightning's lr_scheduler
            dictionary. It may return None. With a parameter `steps_per_epoch`, it gets the steps of an epoch, too.
            None for a constant learning rate.
        loss: A function of logits and labels that returns the mean training loss, see `mixed_loss` for images mixed
            from two; validation and test use cross entropy.
        metrics: Additional metrics of logits and labels by name, logged as `val/<name>` and `test/<name>`.
        distillation: The teachers whose outputs are learned, too; None for the loss on the labels alone.
        ema_decay: The decay of the EMA of the weights, which is then validated, tested and exported; None for no EMA.
        parameter_groups: Groups of parameters with a factor `lr_scale` of the learning rate each; None for all alike.
        compile_mode: The mode of `torch.compile`; None to run without it.
        seed: The seed of dropout and other random numbers of the model. It is combined with epoch, step and rank.
        description: Plain values that checkpoints contain as `hyper_parameters`.

    Attributes:
        average: The EMA, or another average, of the weights; None without one, and after `swap_in_average`.
        lr: The learning rate that Lightning's LearningRateFinder has set; None for that of `optimizer`.
        last_loss: The loss () of the current step, before it is scaled for this rank.
        step_losses: The training loss () of each batch of the last finished epoch, mean over all ranks.
        step_lrs: The learning rate of each batch of the current epoch, until the next one starts.
        images_trained: The number of training images of this rank in the last finished epoch.

    Example::

        data = ImageDataModule("digits", batch_size=64)
        task = ImageClassifier(lenet5(num_classes=10), num_classes=10, optimizer=partial(torch.optim.SGD, lr=0.1))
        lightning.Trainer(max_epochs=5).fit(task, data)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        num_classes: int,
        optimizer: BuildOptimizer = ADAM,
        scheduler: BuildScheduler | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        distillation: Distillation | None = None,
        ema_decay: float | None = None,
        parameter_groups: list[dict[str, Any]] | None = None,
        compile_mode: str | None = None,
        seed: int = 0,
        description: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(num_classes, metrics)
        self.model = model.to(memory_format=torch.channels_last)
        # Compiling the function keeps the names of the weights, and the module can still be traced and exported
        self.compiled = torch.compile(self.model.forward, mode=compile_mode) if compile_mode else None
        self.average: AveragedModel | None = EMAModel(model, ema_decay) if ema_decay else None
        self.loss = loss or nn.CrossEntropyLoss()
        self.distillation = distillation
        self.build_optimizer, self.build_scheduler = optimizer, scheduler
        self.parameter_groups, self.seed = parameter_groups, seed
        self.save_hyperparameters(dict(description or {}), logger=False)
        self.lr: float | None = None
        self.last_loss = torch.zeros(())
        self._steps: list[Step] = []  # outputs of the training steps of this epoch
        self._scales: list[float] = []  # `Batch.loss_scale` of each step
        self._resumed: dict[str, Any] = {}  # packed steps of the epoch in which the run was interrupted
        self._schedule: dict[str, Any] = {}  # Lightning's lr_scheduler dictionary
        self.step_losses: list[Tensor] = []
        self.step_lrs: list[float] = []
        self.images_trained = 0

    def forward(self, images: Tensor) -> Tensor:
        """Map normalized images, float (B, C, H, W), to logits (B, K); in evaluation mode with the average, if any."""
        averaged = self.average is not None and not self.training
        network: Any = self.average.module if averaged else self.compiled or self.model  # type: ignore[union-attr]
        return network(images)  # type: ignore[no-any-return]

    def swap_in_average(self) -> None:
        """Replace the weights of the model with their average, if there is one."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
            self.average = None

    @property
    def step_in_epoch(self) -> int:
        """The number of finished training batches of the current epoch."""
        return len(self.step_lrs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        with keep_global(self.device):  # the step leaves the global random state unchanged
            loss = self.training_loss(batch)
        scaled = loss if self._scales[-1] == 1 else loss * self._scales[-1]
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        # Only the steps that Lightning logs, since logging takes a noticeable part of a small network's step
        if self.trainer.logger and every and (self.trainer.global_step + 1) % every == 0:
            values: dict[str, Any] = {"train/loss_step": scaled.detach(), "lr": self.step_lrs[-1]}
            self.log_dict(values, sync_dist=self.trainer.world_size > 1)
        return scaled

    def training_loss(self, batch: Batch) -> Tensor:
        """Compute the training loss of a batch, and keep its predictions for the metrics of the epoch.

        The global random state is changed, reproducibly.

        Returns:
            The mean loss over the images of this rank, a scalar tensor ().
        """
        self.seed_step()
        logits, loss = self.logits_and_loss(batch[0], batch[1], getattr(batch, "mixed", None))
        self.keep_outputs(loss.detach(), logits.detach().argmax(1), batch)
        return loss

    def logits_and_loss(self, images: Tensor, labels: Tensor, mixed: MixedLabels | None) -> tuple[Tensor, Tensor]:
        """Compute the logits (B, K) and the mean training loss () of images, float (B, C, H, W), and their labels."""
        logits = self(images.to(self.dtype))
        loss = mixed_loss(self.loss, logits, labels, mixed)
        return logits, self.distillation(loss, logits, images) if self.distillation else loss

    def seed_step(self) -> None:
        """Seed the global generators for the current step."""
        key = (self.seed, finished_epochs(self.trainer), self.step_in_epoch, self.global_rank)
        seed_global(keyed_seed("dropout", *key), self.device)

    def keep_outputs(self, loss: Tensor, predictions: Tensor, batch: Batch) -> None:
        """Keep loss () and predictions (B,) of the current step for the metrics of the epoch, and finish the step."""
        self.last_loss = loss
        self.step_lrs.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._steps.append((loss, predictions, batch[1]))
        self._scales.append(getattr(batch, "loss_scale", 1.0))

    def configure_gradient_clipping(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> None:
        # Lightning clips no gradients of fused optimizers with mixed precision, but in bf16 they unscale nothing
        if self.trainer.precision == "bf16-mixed":
            clip_gradients(self.parameters(), self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm)
        else:
            super().configure_gradient_clipping(optimizer, *args, **kwargs)

    def on_train_start(self) -> None:
        if self.distillation:
            self.distillation.to(self.device)
        if self._resumed:
            self._steps, self.step_lrs = unpack(self._resumed, self.device)
            self._scales = [1.0] * len(self._steps)

    def on_train_epoch_start(self) -> None:
        self._validated = False
        if not self._resumed:
            self._steps, self.step_lrs, self._scales = [], [], []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the step outputs of an unfinished epoch."""
        if self._steps:
            checkpoint["epoch_so_far"] = pack(self._steps, self.step_lrs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._resumed = checkpoint.get("epoch_so_far", {})
        state = LoopState(checkpoint)
        state.count_steps(automatic=self.automatic_optimization)
        if self._resumed:
            state.continue_within_epoch(len(self._resumed["rates"]))

    def on_train_epoch_end(self) -> None:
        self.score_training()
        step_plateau(self._schedule, self.trainer, validated=self._validated)
        self._resumed = {}

    def score_training(self) -> None:
        """Compute the training metrics of the ending epoch, once. Callbacks need them before the module's own hook."""
        if not self._steps:
            return
        losses = torch.stack([loss for loss, _, _ in self._steps])
        if self.trainer.world_size > 1:
            losses = losses * torch.tensor(self._scales, device=self.device)
            losses = self.trainer.strategy.reduce(losses, reduce_op="mean")
        self.step_losses = list(losses)
        self.images_trained = sum(len(labels) for _, _, labels in self._steps)
        self._score("train", self._steps)

    def configure_optimizers(self) -> Any:
        optimizer = self.build_optimizer(self.parameter_groups or self.model.parameters())
        if self.lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.lr
        scale_learning_rates(optimizer)
        if isinstance(average := self.average, EMAModel):
            optimizer.register_step_post_hook(lambda *_: average.update_parameters(self.model))
        found = build_schedule(self.build_scheduler, optimizer, self.trainer) if self.build_scheduler else None
        if found is None:
            return optimizer
        self._schedule = found if isinstance(found, dict) else {"scheduler": found}
        # Lightning would end the training if there is no validation in its first epoch
        own = {"reduce_on_plateau": False} if self._steps_plateau_itself else {}
        return {"optimizer": optimizer, "lr_scheduler": self._schedule | own}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        # StochasticWeightAveraging and LearningRateFinder replace the scheduler
        if not self._steps_plateau_itself or scheduler is not self._schedule["scheduler"]:
            super().lr_scheduler_step(scheduler, metric)

    @property
    def _steps_plateau_itself(self) -> bool:
        """Whether the scheduler depends on a metric of the epoch.

        Lightning would step it after the checkpoints of the epoch are written, and a resumed run would miss the step.
        """
        by_epoch = self._schedule.get("interval", "epoch") == "epoch"
        return by_epoch and isinstance(self._schedule.get("scheduler"), ReduceLROnPlateau)
