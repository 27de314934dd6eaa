"""A callback that interrupts a training with a signal after a step."""

import signal
from typing import Any

import lightning


class SignalAfter(lightning.Callback):
    """Send signals to this process after optimizer steps, counted from the start of the run."""

    def __init__(self, *steps: int, number: int = signal.SIGTERM) -> None:
        self.steps, self.number = steps, number

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        def after(*_: Any) -> None:
            if trainer.global_step + 1 in self.steps:  # global_step is incremented after this hook
                signal.raise_signal(self.number)

        trainer.optimizers[0].register_step_post_hook(after)
