"""What watches a training beside Lightning's own callbacks."""

import copy
import csv
import io
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, ModelCheckpoint, RichProgressBar

from lenet_pl.atomic import write_text
from lenet_pl.errors import SettingError
from lenet_pl.interruption import Interruptible, Interruption
from lenet_pl.model.curvature import diagonal_curvature
from lenet_pl.settings import TrainSettings
from lenet_pl.task import ImageClassifier

DRAWINGS_PER_SECOND = 4  # of the progress bar; each takes the interpreter for some milliseconds
COLUMNS = ("epoch", "step", "lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds", "images/s")
SCORES = COLUMNS[3:7]
Callbacks = Sequence[Callback] | Callable[[TrainSettings], Sequence[Callback]]


def for_each(callbacks: Callbacks) -> Callable[[TrainSettings], Sequence[Callback]]:
    """Make a function that gives every training callbacks of its own, as they hold the state of one.

    Args:
        callbacks: are copied, or a function that makes them from the settings of a training.

    Raises:
        SettingError: by the function, if one of them cannot be copied.
    """
    if callable(callbacks):
        return callbacks

    def copies(settings: TrainSettings) -> Sequence[Callback]:
        try:
            return copy.deepcopy(callbacks)
        except Exception as error:  # whatever a callback of someone else's raises
            raise SettingError(
                f"callbacks: cannot be copied for seed {settings.seed} ({type(error).__name__}: {error}); must be a "
                "function that makes them from the settings"
            ) from error

    return copies


class EpochRecorder(Callback):
    """Keep the figures of every epoch, in memory and in metrics.csv, and give the per-step loss to the loggers.

    Callbacks that come after it find the scores of the epoch's training in `trainer.callback_metrics`.

    Args:
        folder: receives metrics.csv.
        log_every_n_steps: steps between two points of the per-step loss that loggers get.
    """

    def __init__(self, folder: Path, log_every_n_steps: int) -> None:
        self.path = folder / "metrics.csv"
        self.log_every_n_steps = log_every_n_steps
        self.epochs: list[dict[str, float]] = []
        self.step_losses: list[float] = []  # one per optimizer step
        self.first_step: float | None = None  # s since 1970 at which this process began its first training step
        self.resumed_at: list[int] = []  # optimizer steps that were done each time that the run was continued
        self._mark = self._validation = self._earlier = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._mark = time.perf_counter() - self._earlier
        if trainer.global_step or self.epochs:
            self.resumed_at.append(trainer.global_step)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.first_step = self.first_step or time.time()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validation -= time.perf_counter()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._validation += time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        pl_module.score_training()
        # From the end of the epoch before, so that its checkpoint counts; validation does not.
        now = time.perf_counter()
        seconds = now - self._mark - self._validation
        self._mark, self._validation = now, 0.0
        losses = [float(loss) for loss in pl_module.step_losses]
        scores = {name: round(float(v), 6) for name, v in trainer.callback_metrics.items() if name in SCORES}
        speed = pl_module.images_trained * trainer.world_size / seconds
        lr = pl_module.step_rates[0]
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": lr, **scores}
        self.epochs.append(row | {"seconds": round(seconds, 3), "images/s": round(speed, 1)})
        for logger in trainer.loggers:
            for offset in range(0, len(losses), self.log_every_n_steps):
                point = {"train/loss_step": losses[offset], "lr": pl_module.step_rates[offset]}
                logger.log_metrics(point, trainer.global_step - len(losses) + offset)
            logger.log_metrics({"images_per_second": speed}, trainer.global_step)
        self.step_losses += losses
        if trainer.is_global_zero:
            self._write()

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self.epochs)
        write_text(self.path, text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self._mark - self._validation  # of an unfinished epoch
        own = {"epochs": self.epochs, "step_losses": self.step_losses, "resumed_at": self.resumed_at}
        return own | {"seconds": seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs, self.step_losses = state_dict["epochs"], state_dict["step_losses"]
        self.resumed_at, self._earlier = state_dict["resumed_at"], state_dict["seconds"]


class BestCheckpoint(ModelCheckpoint):
    """Keep the best epoch so far in best.ckpt."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a run whose folder may have been moved since; Lightning would forget the best score."""
        here = str(self.dirpath)
        file = str(Path(here) / "best.ckpt")
        moved = {"dirpath": here, "best_model_path": file, "kth_best_model_path": file}
        best = {file: score} if (score := state_dict["best_model_score"]) is not None else {}
        super().load_state_dict(state_dict | moved | {"best_k_models": best})
        self.current_score = state_dict["current_score"]  # which Lightning saves and does not load


class LastCheckpoint(Checkpoint):
    """Keep the state after the last epoch in last.ckpt, or after the step at which the training was told to end.

    Lightning's `save_last` would keep the last best epoch. A state inside an epoch says of Lightning's loops what they
    were when the epoch began; what was done since is known to the task, and the loader leaves it out.

    Args:
        path: of last.ckpt.
        interruptible: is listening; told that steps have begun, and that they are over.
    """

    def __init__(self, path: Path, interruptible: Interruptible) -> None:
        self.path, self.interruptible = path, interruptible
        self._epoch_start: dict[str, Any] = {}  # state of Lightning's training loop
        self._inside = False

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._epoch_start = checkpoint["loops"]["fit_loop"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._epoch_start = self._epoch_start or copy.deepcopy(trainer.fit_loop.state_dict())
        self.interruptible.listen()
        self.interruptible.at_a_step = trainer.world_size == 1  # several processes would not end at the same step

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)
        self._epoch_start = copy.deepcopy(trainer.fit_loop.state_dict())

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.interruptible.at_a_step = False
        self.interruptible.check()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        launcher: Any = trainer.strategy.launcher
        if trainer.world_size > 1 and hasattr(launcher, "kill"):
            launcher.kill(signal.SIGKILL)  # the other processes would wait for this one for ever
        waited, self.interruptible.at_a_step = self.interruptible.at_a_step, False
        if waited and isinstance(exception, Interruption) and exception.between_steps:
            self._inside = True
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["threads"] = torch.get_num_threads()  # results are the same for the same number
        if self._inside:
            loop = copy.deepcopy(self._epoch_start)
            steps = "epoch_loop.manual_optimization.optim_step_progress"
            loop[steps] = checkpoint["loops"]["fit_loop"][steps]
            checkpoint["loops"]["fit_loop"] = loop


class CurvatureEstimation(Callback):
    """Tell the optimizer before each epoch how the loss is curved; an epoch that is continued has what it began with.

    Args:
        samples: training images from which it is estimated.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageClassifier)
        optimizer: Any = trainer.optimizers[0]
        if pl_module.steps_done == 0:
            images = trainer.train_dataloader.loader.sample(self.samples)  # type: ignore[union-attr]
            found = diagonal_curvature(pl_module.model, images.to(pl_module.dtype), pl_module.loss)
            optimizer.set_curvature(found)


class ResumableStopping(EarlyStopping):
    """Early stopping that, when a run is continued after it has stopped, stops again."""

    @property
    def stopped(self) -> bool:
        """Whether patience is at its end."""
        return self.has_stopped(self.state_dict())

    def has_stopped(self, state: dict[str, Any]) -> bool:
        """Whether patience was at its end when this state was saved."""
        return int(state["wait_count"]) >= self.patience

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self.stopped


class ProgressBar(RichProgressBar):
    """Live progress in optimizer steps, with the scores of the epoch before, and without the logger's version."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=DRAWINGS_PER_SECOND)

    @property
    def total_train_batches(self) -> int:
        """Count the optimizer steps of an epoch."""
        return int(self.trainer.train_dataloader.steps)  # type: ignore[union-attr]

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ImageClassifier)
        self._update(self.train_progress_bar_id, pl_module.steps_done)

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1, as the tables do."""
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs} "

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}
