"""ImageClassifier: what is learned, how it is scored, and when the learning rate changes."""

import math
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from lenet_pl.batch import Batch
from lenet_pl.errors import DivergenceError
from lenet_pl.optimizers import build_optimizer, build_scheduler
from lenet_pl.settings import Settings


class ImageClassifier(lightning.LightningModule):
    """Cross entropy on logits, accuracy, an optimizer and a scheduler around any model.

    What a step computes stays on the device until the epoch ends; metrics and logs are made from it once an epoch.

    Args:
        model: float (B, C, H, W) → logits (B, K).
        classes: K.
        optimizer: settings of one of the kinds in `conf/optimizer/`.
        scheduler: settings of one of the kinds in `conf/scheduler/`.
        label_smoothing: share of the target that is spread over all classes; in training only.
        class_weights: float (K,), weight of each class in the training loss.
        compile_mode: of torch.compile; None runs the model as it is.
        description: plain JSON values that the checkpoint keeps, enough to build all this again.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        classes: int,
        optimizer: Settings,
        scheduler: Settings,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        compile_mode: str | None = None,
        description: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        # The function, not the module, so that names of weights stay and the model can still be traced and exported
        self.compiled = torch.compile(self.model.forward, mode=compile_mode) if compile_mode else None
        self.optimizer_settings, self.scheduler_settings = optimizer, scheduler
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.save_hyperparameters(description or {}, logger=False)
        # Both are of the part and epoch that is being scored. By default MeanMetric would leave NaN out.
        self.mean_loss = MeanMetric(nan_strategy=math.nan)
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []  # loss (), predictions (B,), labels (B,)
        self._logits: list[Tensor] = []
        self.test_logits: Tensor | None = None  # float (N, K) and int64 (N,), in the order of the test part
        self.test_labels: Tensor | None = None
        self.step_losses: list[Tensor] = []  # of the epoch that ended last, on this rank
        self.images_trained = 0  # in the epoch that ended last, on this rank

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images, float (B, C, H, W), to logits (B, K)."""
        logits: Tensor = self.compiled(images) if self.compiled else self.model(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        logits = self(batch.images)
        loss = functional.cross_entropy(
            logits, batch.labels, weight=self.class_weights, label_smoothing=self.label_smoothing
        )
        self._steps.append((loss.detach(), logits.detach().argmax(1), batch.labels))
        return loss

    def on_train_epoch_start(self) -> None:
        self._steps.clear()

    def on_train_epoch_end(self) -> None:
        self.step_losses = [loss for loss, _, _ in self._steps]
        self.images_trained = sum(len(labels) for _, _, labels in self._steps)
        self._score("train")
        self._step_epoch_scheduler()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch)

    def on_validation_epoch_start(self) -> None:
        self._training_steps, self._steps = self._steps, []  # validation runs inside the training epoch

    def on_validation_epoch_end(self) -> None:
        self._score("val")
        self._steps = self._training_steps

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._logits.append(self._evaluation_step(batch).float())

    def on_test_epoch_start(self) -> None:
        self._steps.clear()
        self._logits.clear()

    def on_test_epoch_end(self) -> None:
        labels = torch.cat([labels for _, _, labels in self._steps])
        self.test_logits, self.test_labels = self._gather(torch.cat(self._logits)), self._gather(labels)
        self._score("test")

    def configure_optimizers(self) -> Any:
        # Lightning cannot clip gradients of a fused optimizer in mixed precision
        fused = not (self.trainer.gradient_clip_val and "mixed" in self.trainer.precision)
        optimizer = build_optimizer(self.optimizer_settings, self.parameters(), fused=fused)
        scheduler = build_scheduler(self.scheduler_settings, optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": scheduler} if scheduler else optimizer

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if self.trainer.lr_scheduler_configs[0].interval == "step":
            scheduler.step()

    def _step_epoch_scheduler(self) -> None:
        """Change the lr before the checkpoint of the epoch is written; Lightning would do it after, and lose it."""
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                metric = self.trainer.callback_metrics[str(config.monitor)] if config.reduce_on_plateau else None
                config.scheduler.step(*(() if metric is None else (metric,)))

    def _evaluation_step(self, batch: Batch) -> Tensor:
        logits: Tensor = self(batch.images)
        loss = functional.cross_entropy(logits, batch.labels)
        self._steps.append((loss, logits.argmax(1), batch.labels))
        return logits

    def _score(self, part: str) -> None:
        """Turn the steps of an epoch into `part`/loss and `part`/accuracy, over all images and all ranks."""
        losses, predictions, labels = zip(*self._steps, strict=True)
        sizes = torch.tensor([float(len(p)) for p in predictions], device=self.device)
        self.mean_loss.update(torch.stack(losses).float(), sizes)
        self.accuracy.update(torch.cat(predictions), torch.cat(labels))
        scores = {f"{part}/loss": self.mean_loss.compute(), f"{part}/accuracy": self.accuracy.compute()}
        if not torch.isfinite(mean := scores[f"{part}/loss"]):
            raise DivergenceError(
                f"{part}/loss: {float(mean)} in epoch {self.current_epoch + 1}, the training diverged; the last "
                "checkpoint is of the epoch before; a smaller optimizer.lr or a trainer.gradient_clip_norm may help"
            )
        self.log_dict(scores, prog_bar=True, sync_dist=self.trainer.world_size > 1)
        self.mean_loss.reset()
        self.accuracy.reset()
        self._steps.clear()

    def _gather(self, values: Tensor) -> Tensor:
        """Put together what the ranks have; each scored one stretch of the set."""
        if self.trainer.world_size == 1:
            return values.cpu()
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, values.cpu())
        return torch.cat(parts)
