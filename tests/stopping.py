"""Interruptions of a training: by a signal after a step, or at a check."""

import signal
from typing import Any

import lightning

from lenet_pl.runtime.signals import Interruption, SignalHandler


class SignalAfter(lightning.Callback):
    """Send signals to this process after optimizer steps, counted from the start of the run."""

    def __init__(self, *steps: int, number: int = signal.SIGTERM) -> None:
        self.steps, self.number = steps, number

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        def after(*_: Any) -> None:
            if trainer.global_step + 1 in self.steps:  # global_step is incremented after this hook
                signal.raise_signal(self.number)

        trainer.optimizers[0].register_step_post_hook(after)


class InterruptingHandler(SignalHandler):
    """Signal handler that reports a signal after a number of checks, which are between steps, epochs and trainings."""

    def __init__(self, checks: int) -> None:
        super().__init__()
        self.left = checks

    def check(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Interruption(signal.SIGTERM, resumable=True)
