"""Validation and test of a classifier."""

import math
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from lenet_pl.batch import Batch
from lenet_pl.engine.partial_epoch import Step
from lenet_pl.errors import DIVERGED, DivergenceError


class ClassifierEvaluation(lightning.LightningModule):
    """The validation and test half of `ImageClassifier`, and the metrics of an epoch.

    Outputs of steps stay on the device until the epoch ends. Metrics are computed and logged once per epoch.

    Args:
        num_classes: The number of classes, K.
        metrics: Additional metrics by name, which receive logits and labels in validation and test.

    Attributes:
        test_logits: Logits of the test images, float (N, K), on the CPU, in the order of the test split; None before
            the first test.
        test_labels: Their true classes, int64 (N,).
    """

    def __init__(self, num_classes: int, metrics: Mapping[str, Metric] | None = None) -> None:
        super().__init__()
        # Both hold one split and epoch at a time. By default MeanMetric would ignore NaN.
        self.mean_loss = MeanMetric(nan_strategy=math.nan)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        own: dict[str, Metric | MetricCollection] = dict(metrics or {})
        self.val_metrics = MetricCollection(own, prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")
        self._evaluated: list[Step] = []
        self._logits: list[Tensor] = []
        self._validated = False  # in this epoch
        self.test_logits: Tensor | None = None
        self.test_labels: Tensor | None = None

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch, self.val_metrics)

    def on_validation_epoch_start(self) -> None:
        self._evaluated.clear()
        self.val_metrics.reset()

    def on_validation_epoch_end(self) -> None:
        self._score("val", self._evaluated)
        self._validated = True
        self._log_metrics(self.val_metrics)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._logits.append(self._evaluation_step(batch, self.test_metrics).float())

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the logits (B, K) of a batch, in full precision."""
        with torch.autocast(self.device.type, enabled=False):
            logits: Tensor = self(batch[0])
        return logits

    def on_test_epoch_start(self) -> None:
        self._evaluated.clear()
        self._logits.clear()
        self.test_metrics.reset()

    def on_test_epoch_end(self) -> None:
        labels = torch.cat([labels for _, _, labels in self._evaluated])
        self.test_logits, self.test_labels = self._gather(torch.cat(self._logits)), self._gather(labels)
        self._score("test", self._evaluated)
        self._log_metrics(self.test_metrics)

    def outcomes(self) -> tuple[Tensor, Tensor]:
        """Return predictions and labels of the images of the validation or test that is under way, int64 (N,) each.

        Callbacks find them in their hook `on_validation_epoch_end`, which runs before that of this class.
        """
        _, predictions, labels = zip(*self._evaluated, strict=True)
        return torch.cat(predictions), torch.cat(labels)

    def _evaluation_step(self, batch: Batch, metrics: MetricCollection) -> Tensor:
        images, labels = batch[0], batch[1]
        with torch.autocast(self.device.type, enabled=False):  # full precision, as in evaluate and predict
            logits: Tensor = self(images)
        metrics.update(logits, labels)
        self._evaluated.append((functional.cross_entropy(logits, labels), logits.argmax(1), labels))
        return logits

    def _log_metrics(self, metrics: MetricCollection) -> None:
        if len(metrics):
            self.log_dict(metrics.compute(), sync_dist=self.trainer.world_size > 1)

    def _score(self, split: str, outputs: list[Step]) -> None:
        """Log `split`/loss and `split`/accuracy over the images of all steps and ranks, and clear the step outputs.

        Args:
            split: "train", "val" or "test".
            outputs: Loss, predictions and labels of each step.

        Raises:
            DivergenceError: The mean loss is not finite.
        """
        # Not after use: in a test the states would become inference tensors, which a later training cannot update
        self.mean_loss.reset()
        self.accuracy.reset()
        losses, predictions, labels = zip(*outputs, strict=True)
        sizes = torch.tensor([float(len(p)) for p in predictions], device=self.device)
        self.mean_loss.update(torch.stack(losses).float(), sizes)
        self.accuracy.update(torch.cat(predictions), torch.cat(labels))
        scores = {f"{split}/loss": self.mean_loss.compute(), f"{split}/accuracy": self.accuracy.compute()}
        if not torch.isfinite(mean := scores[f"{split}/loss"]):
            raise DivergenceError(f"{split}/loss: {float(mean)} in epoch {self.current_epoch + 1}, {DIVERGED}")
        # On the fast path Lightning does not know the batch size, which has no effect on these
        self.log_dict(scores, prog_bar=True, sync_dist=self.trainer.world_size > 1, batch_size=1)
        if not self.automatic_optimization:  # x axis of loggers, where Lightning's counts calls of `training_step`
            self.log("step", float(self.trainer.global_step), batch_size=1)
        outputs.clear()

    def _gather(self, values: Tensor) -> Tensor:
        """Concatenate the values of all ranks, each of which evaluated a contiguous range of the images."""
        parts: list[Any] = [values.cpu()] * self.trainer.world_size
        if len(parts) > 1:
            torch.distributed.all_gather_object(parts, parts[0])
        return torch.cat(parts)
