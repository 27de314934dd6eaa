"""The run folder: what a run leaves, and the table that closes it."""

import contextlib
import itertools
import math
import shlex
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from rich.table import Table

from lenet_pl.atomic import sweep_parts, write_text
from lenet_pl.build import as_begun
from lenet_pl.callbacks import EpochRecorder, ResumableStopping
from lenet_pl.checkpoint import load_checkpoint
from lenet_pl.console import Console
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.identity import write_identity
from lenet_pl.environment import describe_environment
from lenet_pl.errors import from_here, printable
from lenet_pl.explanation.layers import draw_layers
from lenet_pl.figure import Figure, save_figures
from lenet_pl.memory import forget_traces, peak_memory
from lenet_pl.pictures import describe_mistakes, draw_confusion, draw_curves, draw_samples
from lenet_pl.report import write_report
from lenet_pl.scores import Scores
from lenet_pl.settings import TrainSettings
from lenet_pl.summary import print_summary
from lenet_pl.task import ImageClassifier
from lenet_pl.text import as_json, label
from lenet_pl.threads import LoadMeter

SAMPLES = 32  # images in a picture of samples or mistakes


class RunFolder:
    """Fill the folder of one run.

    `config.yaml` and `data.json` at the start; `checkpoints/`, `metrics.csv` and the loggers' files while it trains;
    `results.json`, pictures and `report.html` at the end.

    Args:
        path: of the folder.
        settings: of the run.
        data: data module.
        task: the classifier.
        trainer: what trains it.
    """

    def __init__(
        self,
        path: Path,
        settings: TrainSettings,
        data: ImageDataModule,
        task: ImageClassifier,
        trainer: lightning.Trainer,
    ) -> None:
        self.path, self.settings, self.data, self.task, self.trainer = path, settings, data, task, trainer
        self.recorder = next(c for c in trainer.callbacks if isinstance(c, EpochRecorder))  # type: ignore[attr-defined]
        self._start, self._load = time.perf_counter(), LoadMeter()

    def begin(self) -> None:
        """Show the layers, and write config.yaml, from which the run can be repeated and continued."""
        if self.trainer.is_global_zero:
            if self.settings.callbacks.model_summary:
                print_summary(self.task.model, self.data.example())
            sweep_parts(self.path)  # of a process that was killed here
            if self.settings.train:  # an epoch would be lost if it could not be made
                (self.path / "checkpoints").mkdir(exist_ok=True)
            text = yaml.safe_dump(as_begun(self.settings), sort_keys=False, allow_unicode=True)
            write_text(self.path / "config.yaml", text)
            write_identity(self.path, self.data.identity)

    def withdraw(self) -> None:
        """Remove what `begin` has written, where nothing came of it; of a run that is continued nothing."""
        if self.trainer.is_global_zero and not self.settings.resume:
            (self.path / "config.yaml").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not there, or not empty
                (self.path / "checkpoints").rmdir()

    def last(self) -> Path | None:
        """Find the checkpoint from which the run goes on; None where it begins."""
        last = self.path / "checkpoints" / "last.ckpt"
        if not self.settings.resume or not last.exists():
            return None
        checkpoint = load_checkpoint(last)
        threads = checkpoint.get("threads")
        if self.settings.trainer.threads is None and isinstance(threads, int):
            torch.set_num_threads(threads)  # another number would round otherwise
        epoch, steps = checkpoint["epoch"] + 1, checkpoint["global_step"]
        print(f"continues {from_here(self.path)} in epoch {epoch} after {steps} steps")
        return last

    def load_best(self) -> None:
        """Put the weights of the best epoch, or their average over steps, into the task."""
        best = self.path / "checkpoints" / "best.ckpt"
        self.task.load_state_dict(load_checkpoint(best)["state_dict"])
        self.task.keep_average()

    def finish(self, *, show: bool = True) -> dict[str, Any]:
        """Write results and pictures, log them, print the closing table if it is to be shown; return the results."""
        results = self._results()
        if not self.trainer.is_global_zero:
            return results
        scores = self._scores()
        figures = self._figures(scores)
        save_figures(self.path, figures)
        for name, figure in figures.items():
            self._log_figure(name, figure)
        self._log_graph_and_hyperparameters(results)
        results["total_seconds"] = round(time.perf_counter() - self._start, 2)
        write_report(self.path, results, as_begun(self.settings))
        # Last, as it says that the run is finished
        write_text(self.path / "results.json", as_json(results, allow_nan=False))
        if show:
            self._print(results)
        return results

    def _scores(self) -> Scores | None:
        if self.task.test_logits is None or self.task.test_labels is None:
            return None
        return Scores(self.task.test_logits, self.task.test_labels, self.data.classes)

    def _results(self) -> dict[str, Any]:
        epochs = self.recorder.epochs
        scores = self._scores()
        seconds = sum(row["seconds"] for row in epochs)
        best = self._best_epoch()
        metrics = {f"best/{k}": v for k, v in epochs[best].items() if "/" in k and k != "images/s"} if epochs else {}
        if scores:
            metrics |= {
                k: round(float(v), 6) for k, v in self.trainer.callback_metrics.items() if k.startswith("test/")
            }
        return {
            "task": "train",
            "model": self.settings.model.name,
            "data": self.data.source.name,
            "data_digest": self.data.identity.digest if self.data.identity else None,
            "seed": self.settings.seed,
            "parameters": sum(p.numel() for p in self.task.model.parameters() if p.requires_grad),
            "images": {
                "train": len(self.data.train_set),
                "validation": len(self.data.validation_set),
                "test": len(scores.labels) if scores else 0,
            },
            "metrics": metrics,
            "per_class_accuracy": scores.per_class_accuracy() if scores else None,
            "most_confused": scores.most_confused() if scores else None,
            "epochs": len(epochs),
            "best_epoch": best + 1 if epochs else None,
            "stopped_early": self._stopped_early(),
            "lr_changes": sum(a["lr"] != b["lr"] for a, b in itertools.pairwise(epochs)),
            "precision": self.trainer.precision,
            "first_step": self._first_step(),
            "resumed_at": self.recorder.resumed_at,
            "peak_memory_mb": round(peak_memory() / 1e6, 1),
            "training_seconds": round(seconds, 2),
            "images_per_second": round(sum(r["seconds"] * r["images/s"] for r in epochs) / seconds, 1)
            if epochs
            else None,
            "cores_of_others": None if (others := self._load.cores_of_others()) is None else round(others, 2),
            **describe_environment(self.trainer.strategy.root_device),
        }

    def _first_step(self) -> str | None:
        moment = self.recorder.first_step
        return datetime.fromtimestamp(moment, UTC).isoformat() if moment else None

    def _best_epoch(self) -> int:
        """Count from 0 in the recorded epochs."""
        metric = self.settings.callbacks.checkpoint.monitor
        sign = -1 if metric.endswith("loss") else 1
        values = [sign * row[metric] if math.isfinite(row[metric]) else -math.inf for row in self.recorder.epochs]
        return values.index(max(values)) if values else 0

    def _stopped_early(self) -> bool:
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        return any(c.stopped for c in callbacks if isinstance(c, ResumableStopping))

    def _figures(self, scores: Scores | None) -> dict[str, Figure]:
        names = self.data.classes
        some = torch.randperm(len(self.data.train_set), generator=torch.Generator().manual_seed(0))[:SAMPLES]
        shown = self.data.train_set[some]  # a folder's images are sorted by class; some of each are wanted
        figures = {
            "samples": draw_samples(shown.images, [label(names[k]) for k in shown.labels.tolist()], "training images"),
        }
        figures |= draw_layers(self.task.model, self.data.to_input, shown.images[0], self.settings.model.name)
        if self.recorder.epochs:
            figures["curves"] = draw_curves(self.recorder.epochs, self.recorder.step_losses)
        if scores:
            mistakes = scores.mistakes(SAMPLES)
            images = self.data.test_set[torch.tensor([m.index for m in mistakes], dtype=torch.int64)].images
            titles = describe_mistakes(mistakes, names)
            figures["confusion_matrix"] = draw_confusion(scores.confusion, names)
            figures["misclassified"] = draw_samples(images, titles, "test images, most confident mistakes")
        return figures

    def _tensorboard(self) -> Any:
        loggers = [logger for logger in self.trainer.loggers if isinstance(logger, TensorBoardLogger)]
        return loggers[0].experiment if loggers else None

    def _log_figure(self, name: str, figure: Figure) -> None:
        if board := self._tensorboard():
            board.add_figure(name, figure, self.trainer.global_step, close=False)

    def _log_graph_and_hyperparameters(self, results: dict[str, Any]) -> None:
        for logger in self.trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.filterwarnings("ignore", r"`torch\.jit\.trace", FutureWarning)  # add_graph traces
                    example = self.data.example().to(next(self.task.model.parameters()))
                    logger.experiment.add_graph(self.task.model.eval(), example)
                forget_traces()
                flat = _flatten(self.settings.model_dump(exclude={"run", "callbacks", "logger"}))
                logger.log_hyperparams(flat, results["metrics"])
                logger.finalize("success")  # what was logged since Lightning did so has opened its writer again

    def _print(self, results: dict[str, Any]) -> None:
        console = Console()
        table = Table(
            title=f"{results['model']} on {label(results['data'])}, seed {results['seed']}", show_header=False
        )
        table.add_column()
        table.add_column(overflow="fold")  # a path is never cut off
        metrics = results["metrics"]
        rows = [("parameters", f"{results['parameters']:,}")]
        if results["epochs"]:
            how = ", stopped early" if results["stopped_early"] else ""
            rows += [
                (
                    "best epoch",
                    f"{results['best_epoch']} of {results['epochs']}{how}; lr changed {results['lr_changes']}×",
                ),
                ("validation accuracy", f"{metrics['best/val/accuracy']:.4f}"),
            ]
        if "test/accuracy" in metrics:
            each = [f"{label(k)} {v:.3f}" for k, v in results["per_class_accuracy"].items() if v is not None]
            rows += [
                ("test accuracy", f"{metrics['test/accuracy']:.4f} of {results['images']['test']:,} images"),
                ("by class", ", ".join(each)),
            ]
            if pair := results["most_confused"]:
                rows.append(("most confused", f"{' and '.join(map(label, pair['classes']))}, {pair['count']} images"))
        rows += [
            ("seconds", f"{results['total_seconds']:.1f}, of which training {results['training_seconds']:.1f}"),
            ("images per second", f"{results['images_per_second'] or 0:,.0f} in training"),
            ("everything is in", from_here(self.path)),
        ]
        if busy := self._load.describe(results["threads"]):
            rows.append(("machine", f"{busy}; it would train faster on an idle one"))
        if self._tensorboard():
            rows.append(("look at it with", f"tensorboard --logdir {shlex.quote(from_here(self.path))}"))
        for row in rows:
            table.add_row(*row)
        console.print(table)


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float | bool) else printable(str(value))
    return flat
