"""The run folder: settings, results, figures and report of a run, and its closing table."""

import contextlib
import time
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml

from lenet_pl.artifacts.augmentation_plot import ineffective
from lenet_pl.artifacts.chance import Guess, what_to_try
from lenet_pl.artifacts.chance_check import check_chance_level
from lenet_pl.artifacts.layer_table import print_summary
from lenet_pl.artifacts.ledger import record_training
from lenet_pl.artifacts.report import write_report
from lenet_pl.artifacts.result_table import print_results
from lenet_pl.artifacts.results_file import REPORT, RESULTS, earlier_test_uses, make_way
from lenet_pl.artifacts.run_plots import pictures_of
from lenet_pl.artifacts.run_results import (
    best_row,
    collect_results,
    history_of,
    lr_change_notes,
    scores_of,
    stopping_of,
)
from lenet_pl.data.data_record import FILE as DATA_RECORD
from lenet_pl.data.data_record import write_data_record
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.display.figure import Figure, save_figures
from lenet_pl.display.text import as_json
from lenet_pl.engine.build import without_resume
from lenet_pl.engine.loggers.build import tensorboard_loggers
from lenet_pl.engine.loggers.interface import Params, flatten, run_loggers
from lenet_pl.engine.loggers.tracker import RECORDS
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import display_path
from lenet_pl.runtime.atomic_files import remove_partial_files, write_text
from lenet_pl.runtime.checkpoint_file import load_checkpoint
from lenet_pl.runtime.optional_work import optional
from lenet_pl.runtime.threads import LoadMeter
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.roles import NO_EFFECT, Role, values_of


class RunFolder:
    """Writer of the run folder.

    `config.yaml` and `data.json` are written at the start, `checkpoints/`, `metrics.csv` and the loggers' files during
    training, figures, `report.html` and `results.json` at the end.

    Args:
        path: The run folder.
        settings: The training settings.
        data: The data module.
        task: The classifier.
        trainer: Its Trainer, with a `MetricsHistory` among the callbacks.
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
        self.recorder, self.loggers = history_of(trainer), run_loggers(trainer.loggers)
        self._start, self._load = time.perf_counter(), LoadMeter()
        self._best_epoch = 0  # index, from 0
        self._judged = True  # whether there is a best epoch

    def prepare(self) -> None:
        """Print the layer table, and write config.yaml, from which the run can be repeated and resumed.

        The results of a finished run that is resumed are renamed.
        """
        if self.trainer.is_global_zero:
            if self.settings.callbacks.model_summary:
                print_summary(self.task.model, self.data.example_input())
            remove_partial_files(self.path)  # left by a killed process
            if self.settings.train:  # fail before the first epoch, if at all
                (self.path / "checkpoints").mkdir(exist_ok=True)
            make_way(self.path)  # before config.yaml may ask for more epochs
            text = yaml.safe_dump(without_resume(self.settings), sort_keys=False, allow_unicode=True)
            write_text(self.path / "config.yaml", text)
            write_data_record(self.path, self.data.record)
            for logger in self.loggers:
                logger.start(self._params())

    def withdraw(self) -> None:
        """Remove the files of `prepare` if the training did not start; keep those of a resumed run."""
        if self.trainer.is_global_zero and not self.settings.resume:
            for name in ("config.yaml", DATA_RECORD, RECORDS):
                (self.path / name).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # missing, or not empty
                (self.path / "checkpoints").rmdir()

    def resume_checkpoint(self) -> Path | None:
        """Return last.ckpt, from which the run resumes, and print where; None for a new run.

        Raises:
            DataError: The checkpoint is corrupt.
        """
        last = self.path / "checkpoints" / "last.ckpt"
        if not self.settings.resume or not last.exists():
            return None
        checkpoint = load_checkpoint(last)
        threads = checkpoint.get("threads")
        if self.settings.trainer.num_threads is None and isinstance(threads, int):
            torch.set_num_threads(threads)  # rounding depends on it
        print(
            f"resuming {display_path(self.path)} {self._standing(checkpoint)}, after {checkpoint['global_step']} steps"
        )
        return last

    def _standing(self, checkpoint: dict[str, Any]) -> str:
        """Name the epoch to be trained next, or the last one; Lightning counts the epochs that it has started."""
        states = checkpoint["callbacks"]
        done, limit = len(states[self.recorder.state_key]["epochs"]), self.settings.trainer.max_epochs
        stopped = any(c.state_key in states and c.has_stopped(states[c.state_key]) for c in stopping_of(self.trainer))
        return f"after its last epoch, {done}" if stopped or done >= limit else f"in epoch {done + 1} of {limit}"

    def load_best(self) -> None:
        """Load the weights, or their average, of the best epoch into the task; without validation the last ones."""
        best, last = (self.path / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
        self._judged = best.exists()
        checkpoint = load_checkpoint(best if self._judged else last)
        self._best_epoch = checkpoint["epoch"]
        self.task.load_state_dict(checkpoint["state_dict"])
        self.task.swap_in_average()

    def write_results(self, *, show: bool = True) -> dict[str, Any]:
        """Write figures, report and results, log them, and print the closing table if `show`.

        Errors in figures, report and logs become notes in the results. results.json is written last, since its
        existence marks the run as finished. It is returned; `lenet_pl.train.train` documents its keys.
        """
        if not self.trainer.is_global_zero:
            return self._results()
        notes: list[str] = []
        guess: Guess | None = None
        with optional("whether anything was learned", notes):
            guess = check_chance_level(self.settings, self.data, self.task, best_row(self.trainer, self._best_epoch))
        results = self._results() | {"at_chance": guess is not None, "notes": notes}
        if guess:
            steps = len(self.recorder.step_losses)
            tips = what_to_try(self.settings, guess, len(self.data.classes), steps)
            notes.append(f"{guess.describe(self.data.classes)}; {tips}")
        notes += self.data.loaded.doubts() if self.settings.train else ["the network was not trained (train=false)"]
        notes += self.task.distillation.notes if self.task.distillation else []
        notes += lr_change_notes(self.trainer)
        notes += ineffective(self.settings.augment, self.data.channels)
        if not self._judged:
            notes.append("no validation took place; the results are those of the last weights")
        scores, model = scores_of(self.task, self.data.classes), self.settings.model.name
        figures = pictures_of(self.data, self.task, self.recorder, scores, model, self.settings.report)
        for what, draw in figures.items():
            with optional(what, notes):
                self._keep(draw())
        self._log_end(results)
        notes += [note for logger in self.loggers for note in logger.notes]
        results["total_seconds"] = round(time.perf_counter() - self._start, 2)
        if self.settings.report != "none":
            with optional("report.html", notes):
                write_report(self.path, results, without_resume(self.settings))
        with optional("this test in the ledger of test splits", notes):
            record_training(results, self.path, fold.of if (fold := self.settings.data.split.fold) else None)
        write_text(self.path / RESULTS, as_json(results, allow_nan=False))
        for logger in self.loggers:
            for name in (REPORT, RESULTS) if self.settings.report != "none" else (RESULTS,):
                logger.log_file(self.path / name)
        if show:
            busy = self._load.describe(results["threads"])
            views = [view for logger in self.loggers if not logger.notes and (view := logger.view())]
            print_results(results, display_path(self.path), views=views, busy=busy)
        return results

    def _keep(self, figures: dict[str, Figure]) -> None:
        """Save figures, and log them."""
        save_figures(self.path, figures)
        for name, figure in figures.items():
            for logger in self.loggers:
                logger.log_figure(name, figure, self.path / f"{name}.png", self.trainer.global_step)

    def _log_end(self, results: dict[str, Any]) -> None:
        for board in tensorboard_loggers(self.trainer.loggers):
            with optional("the graph in TensorBoard", results["notes"]):
                board.log_network(self.task.model, self.data.example_input().to(next(self.task.model.parameters())))
        for logger in self.loggers:
            logger.log_end(self._params(), results["metrics"], self.trainer.global_step)

    def _params(self) -> Params:
        """Return the settings that can change a figure, by dotted key."""
        return flatten(values_of(self.settings, *set(Role) - set(NO_EFFECT)))

    def _results(self) -> dict[str, Any]:
        return collect_results(
            self.settings,
            self.data,
            self.task,
            self.trainer,
            best_epoch=self._best_epoch,
            earlier_test_uses=earlier_test_uses(self.path),
            load=self._load,
        )
