"""The callback of a training of the lab: it tells the page what happens, and does what the page asks for.

It changes no bit of the training: what it computes is of a network in evaluation mode, between two optimizer steps,
without random numbers.
"""

import contextlib
import shutil
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lenet_pl.engine.checkpoint_callbacks import LastCheckpoint
from lenet_pl.engine.lr_changes import LrChanges
from lenet_pl.engine.metrics_history import MetricsHistory
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.lab.views import View

POLLS_EVERY = 0.02  # s between two looks at what the page asks for
VIEWS_EVERY = 0.2  # s between two views, at least
SHARE = 0.04  # of the time that views may take
MAX_SNAPSHOTS = 24


class Watch(Callback):
    """Callback that sends messages through a pipe, and obeys those that come.

    Messages are dictionaries with a `kind`:

    - `data`: thumbnails, labels and predictions of validation images, and class names
    - `losses`: training losses of the steps from `first` on, and the learning rate
    - `epoch`: a row of metrics.csv
    - `view`: what `View.draw` returns, with `step`
    - `confusion`: counts of the last validation
    - `state`: training, paused or testing
    - `snapshots`: the epochs whose checkpoints are kept, from which another run can start
    - `speed` and `lr`: what an action has changed

    Actions are pairs of a name and a value: `pause`, `go`, `step` (a number of steps, then pause), `speed` (steps per
    second, or None), `lr` and `images` (indices of validation images).

    Args:
        connection: The pipe to the server.
        folder: The run folder.
        snapshots: The folder for snapshots.
        paused: Whether the training waits before its first step.
    """

    def __init__(self, connection: Connection, folder: Path, snapshots: Path, *, paused: bool) -> None:
        self.connection, self.folder, self.snapshots, self.paused = connection, folder, snapshots, paused
        self._left: int | None = None  # steps until a pause
        self._speed: float | None = None  # steps per second
        self._losses: list[Tensor] = []
        self._polled = self._due = self._began = 0.0  # times, s
        self._seen = -1  # optimizer steps at the last call
        self._stride = 1  # epochs from one snapshot to the next

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        self.trainer, self.task = trainer, pl_module
        self.view = View(trainer.datamodule, pl_module)  # type: ignore[attr-defined]
        self.signals = self._find(LastCheckpoint).signals
        self.history, self.lr_changes = self._find(MetricsHistory), self._find(LrChanges)
        self._seen, self._began = trainer.global_step, time.perf_counter()
        self._send("data", **self.view.describe_data())
        for row in self.history.epochs:
            self._send("epoch", row=row)
        self._send("losses", first=0, values=self.history.step_losses, lr=self._lr)
        self._show()
        self._send("state", state="training")
        self.signals.after_step.append(self._after_step)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.paused:  # before the first step
            self._wait()

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, ImageClassifier)
        if trainer.state.fn == "fit":
            predictions, labels = pl_module.outcomes()
            size = len(self.view.classes)
            counts = torch.bincount(size * labels + predictions, minlength=size**2).view(size, size)
            self._send("confusion", counts=counts.tolist(), step=trainer.global_step)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._send("epoch", row=self.history.epochs[-1])

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._flush()
        self._show()
        self._send("state", state="testing")
        self.signals.after_step.clear()

    def _after_step(self) -> None:
        """Keep the loss, and look after pauses, actions and views; called between two optimizer steps."""
        if self.trainer.global_step == self._seen:  # the end of the training
            return
        self._seen = self.trainer.global_step
        self._losses.append(self.task.last_loss)
        if self.task.step_in_epoch >= self.trainer.num_training_batches:  # its checkpoint is written
            self._keep_snapshot()
        now = time.perf_counter()
        if self._left is not None:
            self._left -= 1
            self.paused = self._left <= 0
        if self._speed:
            self._slow_down(now)
        elif now - self._polled > POLLS_EVERY:
            self._polled = now
            self._act_all()
        if self.paused:
            self._wait()
        elif now >= self._due:
            self._flush()
            self._show()

    def _wait(self) -> None:
        """Wait until an action continues the training, or for a signal."""
        start = time.perf_counter()
        self._left = None
        self._flush()
        self._show()
        self._send("state", state="paused")
        while self.paused and not self.signals.arrived:
            self._act_all(0.1)
        self.history.leave_out(time.perf_counter() - start)
        self._began = time.perf_counter()
        self._send("state", state="training")

    def _slow_down(self, now: float) -> None:
        """Wait until the next step is due."""
        assert self._speed
        self._began = max(self._began + 1 / self._speed, now - 1 / self._speed)
        start = time.perf_counter()
        while self._speed and not self.signals.arrived and not self.paused:
            if (left := self._began - time.perf_counter()) <= 0:
                break
            self._act_all(min(left, 0.1))
        self._act_all()
        self.history.leave_out(time.perf_counter() - start)

    def _act_all(self, seconds: float = 0) -> None:
        """Carry out all actions that have come, or come within a time."""
        try:
            while self.connection.poll(seconds):
                self._act(*self.connection.recv())
                seconds = 0
        except (EOFError, OSError):  # the server has ended; its end sends a signal
            self.paused = False

    def _act(self, action: str, value: Any) -> None:
        if action == "pause":
            self.paused, self._left = True, None
        elif action == "go":
            self.paused, self._left = False, None
        elif action == "step":
            self.paused, self._left = False, int(value)
        elif action == "speed":
            self._speed, self._began = value, time.perf_counter()
            self._send("speed", speed=value)
        elif action == "lr":
            self.lr_changes.change(value)
            self._send("lr", lr=value, step=self.trainer.global_step)
        elif action == "images":
            self.view.choose(value)
            self._show()

    def _flush(self) -> None:
        """Send the losses of the steps since the last time."""
        if self._losses:
            values = torch.stack(self._losses).float().tolist()
            self._losses = []
            self._send("losses", first=self._seen - len(values), values=values, lr=self._lr)

    def _show(self) -> None:
        start = time.perf_counter()
        self._send("view", step=self.trainer.global_step, **self.view.draw())
        cost = time.perf_counter() - start
        self._due = time.perf_counter() + max(VIEWS_EVERY, cost / SHARE)

    def _keep_snapshot(self) -> None:
        """Keep the checkpoints of this epoch as hard links, which costs no time and no space until they change."""
        epochs = len(self.history.epochs)
        if epochs % self._stride:
            return
        place = self.snapshots / f"{epochs:06d}"
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            for file in (self.folder / "checkpoints").glob("*.ckpt"):
                (place / file.name).unlink(missing_ok=True)
                try:
                    (place / file.name).hardlink_to(file)
                except OSError:  # a file system without links
                    shutil.copyfile(file, place / file.name)
        kept = sorted(int(path.name) for path in self.snapshots.iterdir())
        if len(kept) > MAX_SNAPSHOTS:
            self._stride *= 2
            for epoch in kept:
                if epoch % self._stride:
                    shutil.rmtree(self.snapshots / f"{epoch:06d}", ignore_errors=True)
        self._send("snapshots", epochs=[epoch for epoch in kept if epoch % self._stride == 0])

    @property
    def _lr(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def _find(self, kind: type[Any]) -> Any:
        return next(one for one in self.trainer.callbacks if isinstance(one, kind))  # type: ignore[attr-defined]

    def _send(self, kind: str, **content: Any) -> None:
        with contextlib.suppress(OSError):  # the server has ended
            self.connection.send({"kind": kind, **content})
