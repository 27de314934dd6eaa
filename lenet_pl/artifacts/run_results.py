"""Assembly of the content of results.json."""

import itertools
from datetime import UTC, datetime
from typing import Any

import lightning

from lenet_pl.artifacts.metrics import ClassificationMetrics
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.checkpoint_callbacks import BestCheckpoint
from lenet_pl.engine.early_stopping import ResumableEarlyStopping
from lenet_pl.engine.lr_changes import LrChanges
from lenet_pl.engine.metrics_history import MetricsHistory
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.runtime.environment import describe_environment
from lenet_pl.runtime.memory import peak_memory
from lenet_pl.runtime.threads import LoadMeter
from lenet_pl.settings import TrainSettings


def history_of(trainer: lightning.Trainer) -> MetricsHistory:
    """Return the `MetricsHistory` of a Trainer."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next(c for c in callbacks if isinstance(c, MetricsHistory))


def stopping_of(trainer: lightning.Trainer) -> list[ResumableEarlyStopping]:
    """Return the early-stopping callbacks of a Trainer."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [c for c in callbacks if isinstance(c, ResumableEarlyStopping)]


def lr_change_notes(trainer: lightning.Trainer) -> list[str]:
    """Describe the changes of the learning rate that were made by hand."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [note for c in callbacks if isinstance(c, LrChanges) for note in c.notes()]


def best_row(trainer: lightning.Trainer, best_epoch: int) -> dict[str, float]:
    """Return the metrics of the best epoch, whose index is given; empty without training."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    scores = next((c.val_scores for c in callbacks if isinstance(c, BestCheckpoint)), {})
    row = next((row for row in history_of(trainer).epochs if row["epoch"] == best_epoch), {})
    return row | scores if row else {}


def scores_of(task: ImageClassifier, classes: tuple[str, ...]) -> ClassificationMetrics | None:
    """Compute the metrics on the test images; None without a test."""
    if task.test_logits is None or task.test_labels is None:
        return None
    return ClassificationMetrics(task.test_logits, task.test_labels, classes)


def collect_results(
    settings: TrainSettings,
    data: ImageDataModule,
    task: ImageClassifier,
    trainer: lightning.Trainer,
    *,
    best_epoch: int,
    earlier_test_uses: int,
    load: LoadMeter,
) -> dict[str, Any]:
    """Collect the results of a training; `lenet_pl.train.train` documents the keys.

    Args:
        settings: The training settings.
        data: The data module.
        task: The classifier, with the weights of the best epoch.
        trainer: Its Trainer, with a `MetricsHistory` among the callbacks.
        best_epoch: The index of the best epoch, from 0.
        earlier_test_uses: How often the run was tested before.
        load: The meter of the cores that other programs used.
    """
    recorder = history_of(trainer)
    epochs = recorder.epochs
    scores = scores_of(task, data.classes)
    seconds = sum(row["seconds"] for row in epochs)
    metrics = {f"best/{k}": v for k, v in best_row(trainer, best_epoch).items() if "/" in k and k != "images/s"}
    if scores:
        metrics |= {k: round(float(v), 6) for k, v in trainer.callback_metrics.items() if k.startswith("test/")}
    return {
        "task": "train",
        "model": settings.model.name,
        "data": data.source.name,
        "data_digest": data.record.digest if data.record else None,
        "seed": settings.seed,
        "tags": settings.tags,
        "fold": settings.data.split.fold.number if settings.data.split.fold else None,
        "init_from": {"path": settings.init_from, "sha256": settings.init_from_sha256} if settings.init_from else None,
        "teachers": list(task.distillation.sources) if task.distillation else None,
        "parameters": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
        "images": {
            "train": len(data.train_set),
            "validation": len(data.validation_set),
            "test": len(scores.labels) if scores else 0,
        },
        "metrics": metrics,
        "test_uses": earlier_test_uses + bool(scores),
        "per_class_accuracy": scores.per_class_accuracy() if scores else None,
        "most_confused": scores.most_confused() if scores else None,
        "epochs": len(epochs),
        "best_epoch": best_epoch + 1 if epochs else None,
        "stopped_early": any(callback.stopped for callback in stopping_of(trainer)),
        "num_lr_changes": sum(a["lr"] != b["lr"] for a, b in itertools.pairwise(epochs)),
        "precision": trainer.precision,
        "first_step_time": _first_step(recorder),
        "resumed_at": recorder.resumed_at,
        "peak_memory_mb": round(peak_memory() / 1e6, 1),
        "training_seconds": round(seconds, 2),
        "images_per_second": round(sum(r["seconds"] * r["images/s"] for r in epochs) / seconds, 1) if epochs else None,
        "cores_of_others": None if (others := load.cores_of_others()) is None else round(others, 2),
        **describe_environment(trainer.strategy.root_device),
    }


def _first_step(recorder: MetricsHistory) -> str | None:
    moment = recorder.first_step
    return datetime.fromtimestamp(moment, UTC).isoformat() if moment else None
