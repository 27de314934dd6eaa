"""Checkpoints of the best and the last epoch."""

import copy
import signal
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from lenet_pl.runtime.signals import Interruption, SignalHandler


class BestCheckpoint(ModelCheckpoint):
    """Checkpoint of the best epoch so far, in best.ckpt."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score even if the run folder was moved; Lightning would discard it."""
        here = str(self.dirpath)
        file = str(Path(here) / "best.ckpt")
        moved = {"dirpath": here, "best_model_path": file, "kth_best_model_path": file}
        best = {file: score} if (score := state_dict["best_model_score"]) is not None else {}
        super().load_state_dict(state_dict | moved | {"best_k_models": best})
        self.current_score = state_dict["current_score"]  # saved but not restored by Lightning


class LastCheckpoint(Checkpoint):
    """Checkpoint of the last epoch, or of the step at which a signal interrupted the training, in last.ckpt.

    Lightning's `save_last` would keep the last best epoch. A checkpoint in mid-epoch stores the state of Lightning's
    loops at the start of that epoch. The task stores the outputs of the steps since then, and the loader skips them.

    Args:
        path: The path of last.ckpt.
        signals: The signal handler, which defers signals to the end of a step during training.
    """

    def __init__(self, path: Path, signals: SignalHandler) -> None:
        self.path, self.signals = path, signals
        self._epoch_start: dict[str, Any] = {}  # state of Lightning's fit loop
        self._inside = False

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._epoch_start = checkpoint["loops"]["fit_loop"]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._epoch_start = self._epoch_start or copy.deepcopy(trainer.fit_loop.state_dict())
        self.signals.install()
        self.signals.defer_to_step_end = trainer.world_size == 1  # several processes would not end at the same step

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)
        self._epoch_start = copy.deepcopy(trainer.fit_loop.state_dict())

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.signals.defer_to_step_end = False
        self.signals.check()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        launcher: Any = trainer.strategy.launcher
        if trainer.world_size > 1 and hasattr(launcher, "kill"):
            launcher.kill(signal.SIGKILL)  # they would wait for this process forever
        waited, self.signals.defer_to_step_end = self.signals.defer_to_step_end, False
        if waited and isinstance(exception, Interruption) and exception.resumable:
            self._inside = True
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["threads"] = torch.get_num_threads()  # rounding depends on it
        if self._inside:
            loop = copy.deepcopy(self._epoch_start)
            steps = "epoch_loop.manual_optimization.optim_step_progress"
            loop[steps] = checkpoint["loops"]["fit_loop"][steps]
            checkpoint["loops"]["fit_loop"] = loop
