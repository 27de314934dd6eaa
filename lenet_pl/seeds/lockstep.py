"""Ordinary trainings, one for each seed, that take their optimizer steps together.

Each training runs in a thread of its own, with Lightning's Trainer, callbacks, schedulers and files, as if alone. Only
one thread runs at a time: a training goes on until it needs a stretch of optimizer steps, then the next one does; when
all wait, the main thread takes the steps for all at once.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from torch import Tensor

from lenet_pl.batch import Batch
from lenet_pl.errors import DivergenceError
from lenet_pl.interruption import Interruptible, Interruption
from lenet_pl.random_numbers import keep_global, keyed_seed
from lenet_pl.seeds.stacked import StackedNetworks
from lenet_pl.task import ImageClassifier


class Relayed(Interruptible):
    """Hears of signals from another, which listens in the main thread."""

    def __init__(self, source: Interruptible) -> None:
        super().__init__()
        self.source = source

    def check(self) -> None:
        self.source.check()


class OneOfMany(ImageClassifier):
    """The classifier of one seed, whose steps are taken elsewhere."""

    thread: "Training"  # that it is trained in
    failure: DivergenceError | None = None  # of a step that was not taken

    def training_step(self, batches: Iterable[Batch], batch_idx: int) -> None:
        self.thread.wait((self, iter(batches)))
        if self.failure:
            raise self.failure

    def on_train_end(self) -> None:
        self.thread.wait()  # else the others would count as training what this one does next

    def dropout_seed(self) -> int:
        """Return what fixes the dropout of the next step."""
        epoch = self.trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return keyed_seed("dropout", self.seed, epoch, self.steps_done, self.global_rank)

    def finish_step(self, loss: Tensor, logits: Tensor, batch: Batch) -> None:
        """Change the weights by the gradients that they have, and note what the scores of the epoch need.

        A gradient or loss that is not finite changes nothing; it becomes the task's `failure`.

        Args:
            loss: () of the step.
            logits: (B, K).
            batch: of the step.
        """
        optimizer = self.trainer.optimizers[0]
        try:
            self._clip(loss)
        except DivergenceError as error:
            self.failure = error
            return
        self.step_rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        self._update_average()
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress  # global_step
        progress.increment_ready()
        progress.increment_completed()
        if self._schedule.get("interval") == "step":
            self._schedule["scheduler"].step()
        self._steps.append((loss, logits.argmax(1), batch.labels))
        self._weights.append(batch.weight)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        # A slice would be saved with all that it is a slice of
        checkpoint["state_dict"] = {name: value.clone() for name, value in checkpoint["state_dict"].items()}


class Training:
    """The training of one seed, in a thread that runs only while `advance` waits for it.

    Args:
        seed: of it.
        work: trains and returns what results.json holds; its task is to be an OneOfMany with this as `thread`.

    Attributes:
        result: what `work` returned.
        error: what it raised.
        task: that waits for steps, with its batches; None if it waits for the others only.
    """

    def __init__(self, seed: int, work: Callable[["Training"], dict[str, Any]]) -> None:
        self.seed, self.work = seed, work
        self.result: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self.ended = False
        self.task: tuple[OneOfMany, Iterator[Batch]] | None = None
        self._stop: BaseException | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._runs = False

    def advance(self, stop: BaseException | None = None) -> None:
        """Let it run until it waits for steps or ends.

        Args:
            stop: is raised where it waits.
        """
        if self.ended and not self._runs:
            return
        if stop and not self._thread:
            self.error, self.ended = stop, True
            return
        if not self._runs:
            self._stop, self._runs = stop, True
            if self._thread:
                self._go.release()
            else:
                self._thread = threading.Thread(target=self._run, name=f"seed {self.seed}", daemon=True)
                self._thread.start()
        self._back.acquire()
        self._runs = False

    def wait(self, task: tuple[OneOfMany, Iterator[Batch]] | None = None) -> None:
        """Wait, in the training's own thread, until the others wait too and the steps have been taken.

        Args:
            task: that needs steps, and the batches for them; None: none.

        Raises:
            BaseException: what stops the training.
        """
        self.task = task
        self._back.release()
        self._go.acquire()
        if isinstance(self._stop, Interruption):
            raise Interruption(self._stop.exit_code - 128, between_steps=self._stop.between_steps)
        if self._stop:
            raise self._stop

    def _run(self) -> None:
        try:
            self.result = self.work(self)
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self._back.release()


def train_together(
    trainings: Sequence[Training],
    interruptible: Interruptible,
    watch: Callable[[Sequence[OneOfMany]], None] = lambda tasks: None,
) -> None:
    """Run trainings to their ends; one that fails does not stop the others.

    Args:
        trainings: none of them begun.
        interruptible: listens for signals.
        watch: is told of the tasks that wait, before their steps are taken.

    Raises:
        Interruption: a signal came; all trainings have ended, with their checkpoints written if it was the first.
        Exception: of a step.
    """
    steps, active = TogetherSteps(interruptible), list(trainings)
    stop: BaseException | None = None
    interruptible.at_a_step = True
    while active:
        try:
            for training in active:
                training.advance(stop)
                if stop is None:
                    interruptible.check()
            active = [training for training in active if not training.ended]
            tasks = [training.task for training in active if training.task]
            if stop is None and tasks:
                watch([task for task, _ in tasks])
                steps.take(tasks)
        except BaseException as error:
            interruptible.at_a_step = False
            if stop is not None and not isinstance(error, Interruption):
                raise
            stop = error
    interruptible.at_a_step = False
    if stop is not None:
        raise stop


class TogetherSteps:
    """Takes optimizer steps of several tasks at once.

    Args:
        interruptible: is asked after each step whether a signal has come.
    """

    def __init__(self, interruptible: Interruptible) -> None:
        self.interruptible = interruptible
        self._stacks: dict[tuple[int, ...], StackedNetworks] = {}  # by the identities of the networks

    def take(self, tasks: Sequence[tuple[OneOfMany, Iterator[Batch]]]) -> None:
        """Take a stretch of steps of each task; those whose batches are of one shape at once.

        Raises:
            Interruption: a signal came; every task is between two steps.
        """
        self.interruptible.check()
        if len(tasks) == 1:
            [(task, batches)] = tasks
            ImageClassifier.training_step(task, cast(Iterable[Batch], batches), 0)
            return
        with keep_global(tasks[0][0].device):  # as in the training step of one
            self._take(tasks)

    def _take(self, tasks: Sequence[tuple[OneOfMany, Iterator[Batch]]]) -> None:
        while True:
            alike: dict[Any, list[tuple[OneOfMany, Batch]]] = {}
            for task, batches in tasks:
                if not task.failure and (batch := next(batches, None)) is not None:
                    alike.setdefault(batch.images.shape, []).append((task, batch))
            if not alike:
                return
            for group in alike.values():
                self._step([task for task, _ in group], [batch for _, batch in group])
            self.interruptible.check()

    def _step(self, tasks: list[OneOfMany], batches: list[Batch]) -> None:
        stack = self._stacked(tasks)
        seeds = [task.dropout_seed() for task in tasks] if stack.drops else []
        images = [batch.images.to(task.dtype) for task, batch in zip(tasks, batches, strict=True)]
        losses, logits = stack.backward(images, [batch.labels for batch in batches], seeds)
        for task, loss, some, batch in zip(tasks, losses, logits, batches, strict=True):
            task.finish_step(loss, some, batch)

    def _stacked(self, tasks: list[OneOfMany]) -> StackedNetworks:
        key = tuple(id(task.model) for task in tasks)
        if key not in self._stacks:  # those that share a network with it are none any more
            self._stacks = {k: stack for k, stack in self._stacks.items() if not set(k) & set(key)}
            self._stacks[key] = StackedNetworks(
                [task.model for task in tasks], tasks[0].class_weights, tasks[0].label_smoothing
            )
        return self._stacks[key]
