"""Checkpoints of the best and the last epoch."""

import signal
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from lenet_pl.runtime.signals import Interruption, SignalHandler


class BestCheckpoint(ModelCheckpoint):
    """Checkpoint of the best epoch so far, in best.ckpt.

    Attributes:
        val_scores: The validation metrics of the checkpoint if it was written after a validation that need not be the
            last one of its epoch; else empty.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.val_scores: dict[str, float] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        before = self.best_model_score
        super().on_validation_end(trainer, pl_module)
        if self.best_model_score is not before:
            found = trainer.callback_metrics.items()
            self.val_scores = {name: round(float(value), 6) for name, value in found if name.startswith("val/")}

    def forget(self) -> None:
        """Forget the best epoch so far; the next one that is judged replaces it."""
        self.best_k_models, self.best_model_score, self.val_scores = {}, None, {}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | ({"val_scores": self.val_scores} if self.val_scores else {})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score even if the run folder was moved; Lightning would discard it."""
        here = str(self.dirpath)
        file = str(Path(here) / "best.ckpt")
        moved = {"dirpath": here, "best_model_path": file, "kth_best_model_path": file}
        best = {file: score} if (score := state_dict["best_model_score"]) is not None else {}
        super().load_state_dict(state_dict | moved | {"best_k_models": best})
        self.val_scores = state_dict.get("val_scores", {})
        self.current_score = state_dict["current_score"]  # saved but not restored by Lightning


class LastCheckpoint(Checkpoint):
    """Checkpoint of the last epoch, or of the step at which a signal interrupted the training, in last.ckpt.

    Lightning's `save_last` would keep the last best epoch.

    Args:
        path: The path of last.ckpt.
        signals: The signal handler, which defers signals to the end of a step during training.
    """

    def __init__(self, path: Path, signals: SignalHandler) -> None:
        self.path, self.signals = path, signals
        self._saved = -1  # number of optimizer steps at the end of the last epoch

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.signals.install()
        self.signals.defer_to_step_end = trainer.world_size == 1  # several processes would not end at the same step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        accumulated = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # After its last batch, an epoch can only be resumed at its end. The fast path checks after each step itself
        if pl_module.automatic_optimization and accumulated and batch_idx + 1 < trainer.num_training_batches:
            self.signals.check()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved = trainer.global_step
        self.signals.check()

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
        within = trainer.global_step != self._saved
        if waited and within and isinstance(exception, Interruption) and exception.resumable:
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["threads"] = torch.get_num_threads()  # rounding depends on it
