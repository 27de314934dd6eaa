"""Changes of the learning rate by hand: recorded in the run folder, and repeated when the run is resumed."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from pydantic import TypeAdapter, ValidationError

from lenet_pl.display.text import as_json
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import DataError, display_path
from lenet_pl.optim.change_lr import change_lr
from lenet_pl.runtime.atomic_files import write_text
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings.types import LearningRate

FILE = "lr_changes.json"  # in the run folder


@dataclass(frozen=True)
class LrChange:
    """A change of the learning rate.

    Attributes:
        step: Number of optimizer steps before it.
        lr: New learning rate of the first group of parameters.
    """

    step: int
    lr: LearningRate


def read_lr_changes(folder: Path) -> list[LrChange]:
    """Read the changes in a run folder; none without a file.

    Raises:
        DataError: The file is corrupt.
    """
    path = folder / FILE
    try:
        return TypeAdapter(list[LrChange]).validate_json(path.read_bytes(), strict=True)
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        raise DataError(f"{display_path(path)}: not a list of learning rates ({type(error).__name__})") from None


def write_lr_changes(folder: Path, changes: list[LrChange]) -> None:
    """Write the changes of a run into its folder."""
    write_text(folder / FILE, as_json([asdict(change) for change in changes]))


class LrChanges(Callback):
    """Callback that changes the learning rate at recorded steps, or when `change` is called.

    A change takes effect before the first step of an epoch, or between two steps of it. Checkpoints contain how many
    took effect, so that a resumed run makes the others again.

    Args:
        folder: The run folder.
        signals: The signal handler, which is checked after each optimizer step.

    Raises:
        DataError: The recorded changes are corrupt.
    """

    def __init__(self, folder: Path, signals: SignalHandler) -> None:
        self.folder, self.signals = folder, signals
        self.changes = read_lr_changes(folder)
        self._done = 0
        self._trainer: lightning.Trainer | None = None

    @property
    def done(self) -> list[LrChange]:
        """The changes that took effect."""
        return self.changes[: self._done]

    def change(self, lr: float) -> None:
        """Record a new learning rate, which takes effect before the next step."""
        assert self._trainer
        self.changes.append(LrChange(self._trainer.global_step, lr))
        write_lr_changes(self.folder, self.changes)
        self._catch_up_between_steps()

    def notes(self) -> list[str]:
        """Describe the changes in one line; empty without changes."""
        texts = [f"to {change.lr:g} after step {change.step}" for change in self.done]
        return [f"the learning rate was changed by hand: {', '.join(texts)}"] if texts else []

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._trainer = trainer
        if self._done < len(self.changes):
            self.signals.after_step.append(self._catch_up_between_steps)
            self._catch_up()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._catch_up()

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done} if self._done else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._done = state_dict["done"]

    def _catch_up_between_steps(self) -> None:
        assert self._trainer
        task = self._trainer.lightning_module
        # At the end of an epoch the checkpoint is written, but the scheduler may still have to take its step
        if isinstance(task, ImageClassifier) and 0 < task.step_in_epoch < self._trainer.num_training_batches:
            self._catch_up()

    def _catch_up(self) -> None:
        trainer = self._trainer
        assert trainer
        while self._done < len(self.changes) and self.changes[self._done].step <= trainer.global_step:
            config = next(iter(trainer.lr_scheduler_configs), None)
            change_lr(trainer.optimizers[0], config and config.scheduler, self.changes[self._done].lr)
            self._done += 1
