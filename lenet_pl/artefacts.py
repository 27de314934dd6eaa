"""The run folder: what a run leaves, and the table that closes it."""

import contextlib
import copy
import itertools
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

from lenet_pl.atomic import sweep_parts, write_text
from lenet_pl.build import as_begun
from lenet_pl.callbacks import EpochRecorder, ResumableStopping
from lenet_pl.chance import Guess, find_guess, what_to_try
from lenet_pl.checkpoint import load_checkpoint
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.data.identity import FILE as IDENTITY
from lenet_pl.data.identity import write_identity
from lenet_pl.environment import describe_environment
from lenet_pl.errors import from_here
from lenet_pl.figure import Figure, save_figures
from lenet_pl.loggers import OutlivedLogger, boards
from lenet_pl.memory import peak_memory
from lenet_pl.optional_work import optional
from lenet_pl.report import write_report
from lenet_pl.result_table import print_results
from lenet_pl.results_file import RESULTS, earlier_test_uses, make_way
from lenet_pl.run_pictures import pictures_of
from lenet_pl.scores import Scores
from lenet_pl.settings import TrainSettings
from lenet_pl.summary import print_summary
from lenet_pl.task import ImageClassifier
from lenet_pl.text import as_json
from lenet_pl.threads import LoadMeter

CLEARLY_LEARNED = 0.1  # of accuracy above the share of the most frequent class


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
        self._best_epoch = 0  # from 0

    def begin(self) -> None:
        """Show the layers, and write config.yaml, from which the run can be repeated and continued.

        A run that was finished is finished no longer: its results get another name.
        """
        if self.trainer.is_global_zero:
            if self.settings.callbacks.model_summary:
                print_summary(self.task.model, self.data.example())
            sweep_parts(self.path)  # of a process that was killed here
            if self.settings.train:  # an epoch would be lost if it could not be made
                (self.path / "checkpoints").mkdir(exist_ok=True)
            make_way(self.path)  # before anything says that there is more to come
            text = yaml.safe_dump(as_begun(self.settings), sort_keys=False, allow_unicode=True)
            write_text(self.path / "config.yaml", text)
            write_identity(self.path, self.data.identity)

    def withdraw(self) -> None:
        """Remove what `begin` has written, where nothing came of it; of a run that is continued nothing."""
        if self.trainer.is_global_zero and not self.settings.resume:
            for name in ("config.yaml", IDENTITY):
                (self.path / name).unlink(missing_ok=True)
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
        print(f"continues {from_here(self.path)} {self._standing(checkpoint)}, after {checkpoint['global_step']} steps")
        return last

    def _standing(self, checkpoint: dict[str, Any]) -> str:
        """Say in which epoch a training goes on; Lightning's own count is of the last one that was begun."""
        states = checkpoint["callbacks"]
        done, limit = len(states[self.recorder.state_key]["epochs"]), self.settings.trainer.max_epochs
        stopped = any(c.state_key in states and c.has_stopped(states[c.state_key]) for c in self._stopping())
        return f"after its last epoch, {done}" if stopped or done >= limit else f"in epoch {done + 1} of {limit}"

    def load_best(self) -> None:
        """Put the weights of the best epoch, or their average over steps, into the task."""
        best = self.path / "checkpoints" / "best.ckpt"
        checkpoint = load_checkpoint(best)
        self._best_epoch = checkpoint["epoch"]
        self.task.load_state_dict(checkpoint["state_dict"])
        self.task.keep_average()

    def finish(self, *, show: bool = True) -> dict[str, Any]:
        """Write results and pictures, log them, print the closing table if it is to be shown; return the results.

        What goes wrong with pictures, report and logs is noted in the results, which are written all the same. They
        come last, as they say that the run is finished.
        """
        if not self.trainer.is_global_zero:
            return self._results()
        notes: list[str] = []
        guess: Guess | None = None
        with optional("whether anything was learned", notes):
            guess = self._find_guess()
        results = self._results() | {"at_chance": guess is not None, "notes": notes}
        if guess:
            steps = len(self.recorder.step_losses)
            tips = what_to_try(self.settings, guess, len(self.data.classes), steps)
            notes.append(f"{guess.describe(self.data.classes)}; {tips}")
        notes += self.data.doubts() if self.settings.train else ["the network was not trained, as train=false says"]
        pictures = pictures_of(self.data, self.task, self.recorder, self._scores(), self.settings.model.name)
        for what, draw in pictures.items():
            with optional(what, notes):
                self._keep(draw())
        self._log_end(results)
        notes += [
            note for logger in self.trainer.loggers if isinstance(logger, OutlivedLogger) for note in logger.notes
        ]
        results["total_seconds"] = round(time.perf_counter() - self._start, 2)
        with optional("report.html", notes):
            write_report(self.path, results, as_begun(self.settings))
        write_text(self.path / RESULTS, as_json(results, allow_nan=False))
        if show:
            busy = self._load.describe(results["threads"])
            print_results(results, from_here(self.path), board=bool(boards(self.trainer.loggers)), busy=busy)
        return results

    def _scores(self) -> Scores | None:
        if self.task.test_logits is None or self.task.test_labels is None:
            return None
        return Scores(self.task.test_logits, self.task.test_labels, self.data.classes)

    def _results(self) -> dict[str, Any]:
        epochs = self.recorder.epochs
        scores = self._scores()
        seconds = sum(row["seconds"] for row in epochs)
        metrics = {f"best/{k}": v for k, v in self._best_row().items() if "/" in k and k != "images/s"}
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
            "test_uses": earlier_test_uses(self.path) + bool(scores),
            "per_class_accuracy": scores.per_class_accuracy() if scores else None,
            "most_confused": scores.most_confused() if scores else None,
            "epochs": len(epochs),
            "best_epoch": self._best_epoch + 1 if epochs else None,
            "stopped_early": any(callback.stopped for callback in self._stopping()),
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

    def _best_row(self) -> dict[str, float]:
        return next((row for row in self.recorder.epochs if row["epoch"] == self._best_epoch), {})

    def _stopping(self) -> list[ResumableStopping]:
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        return [c for c in callbacks if isinstance(c, ResumableStopping)]

    def _find_guess(self) -> Guess | None:
        """Look at what the best epoch's network makes of the validation images, if it may have learned nothing."""
        given, images = self.settings.trainer, self.data.validation_set
        seen = (given.limit_train_batches or len(self.data.train_set)) * self.settings.loader.batch_size
        if not self.recorder.epochs or 2 * seen < len(self.data.train_set):  # such a run only tries whether all works
            return None
        frequent = float(torch.bincount(images.labels).max()) / len(images)
        if self._best_row()["val/accuracy"] > frequent + CLEARLY_LEARNED:
            return None
        weight = next(self.task.model.parameters())
        to_input, size = copy.copy(self.data.to_input).to(weight.device), self.settings.loader.eval_batch_size
        parts = [images[slice(i, i + size)] for i in range(0, len(images), size)][: given.limit_val_batches]
        with torch.no_grad():
            model = self.task.model.eval()
            logits = torch.cat([model(to_input(p.images.to(weight.device)).to(weight.dtype)).cpu() for p in parts])
        labels = torch.cat([part.labels.cpu() for part in parts])
        return find_guess(Scores(logits, labels, self.data.classes).confusion.tolist())

    def _keep(self, figures: dict[str, Figure]) -> None:
        """Save pictures, and show them on the TensorBoard."""
        save_figures(self.path, figures)
        for name, figure in figures.items():
            for board in boards(self.trainer.loggers):
                board.log_figure(name, figure, self.trainer.global_step)

    def _log_end(self, results: dict[str, Any]) -> None:
        for board in boards(self.trainer.loggers):
            with optional("the graph in TensorBoard", results["notes"]):
                board.log_network(self.task.model, self.data.example().to(next(self.task.model.parameters())))
            board.log_end(self.settings.model_dump(exclude={"run", "callbacks", "logger"}), results["metrics"])
