"""The counters of Lightning's loops, in the Trainer and in a checkpoint.

The structure is Lightning's own and may change with its version.
"""

from typing import Any

AUTOMATIC = "epoch_loop.automatic_optimization.optim_progress"
MANUAL = "epoch_loop.manual_optimization.optim_step_progress"

COUNTERS = ("ready", "started", "processed", "completed")


def count_steps(trainer: Any, steps: int = 1) -> None:
    """Add optimizer steps of manual optimization to `trainer.global_step`; a negative number takes them back."""
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    for counts in (progress.total, progress.current):
        counts.ready += steps
        counts.completed += steps


class LoopState:
    """The state of the fit loop in a checkpoint, which the methods change in place.

    Args:
        checkpoint: A checkpoint of a training, as loaded by Lightning.
    """

    def __init__(self, checkpoint: dict[str, Any]) -> None:
        self.steps = int(checkpoint["global_step"])
        self.fit: dict[str, Any] = checkpoint["loops"]["fit_loop"]

    def count_steps(self, *, automatic: bool) -> None:
        """Set the number of optimizer steps, which Lightning counts apart for automatic and manual optimization."""
        progress = self.fit[AUTOMATIC]["optimizer"]["step"] if automatic else self.fit[MANUAL]
        progress["total"] |= {"ready": self.steps, "completed": self.steps}

    def count_batches(self, in_epoch: int) -> None:
        """Count one batch for each optimizer step.

        Args:
            in_epoch: The number of finished batches of the current epoch.
        """
        progress = self.fit["epoch_loop.batch_progress"]
        for which, batches in (("total", self.steps), ("current", in_epoch)):
            progress[which] |= dict.fromkeys(COUNTERS, batches)
        self.fit["epoch_loop.state_dict"]["_batches_that_stepped"] = self.steps

    def continue_within_epoch(self, batches: int) -> None:
        """Set the position after some batches of an epoch; earlier versions saved the state at the start of this epoch.

        Args:
            batches: The number of finished batches.
        """
        epochs = self.fit["epoch_progress"]
        if epochs["current"]["started"] > epochs["current"]["processed"]:
            return  # of a present version
        for which in ("total", "current"):
            done = epochs[which]["processed"]
            epochs[which] |= {"ready": done + 1, "started": done + 1, "completed": done}
        self.count_batches(batches)
        self.fit["epoch_loop.batch_progress"]["is_last_batch"] = False
        self.fit["epoch_loop.val_loop.batch_progress"]["total"] |= dict.fromkeys(COUNTERS, 0)
