"""The fast path of a training: several optimizer steps in one Lightning step.

The overhead of a Lightning step is as large as training a small network on several batches. This is the only module
that knows of chunks. The steps are those of `ImageClassifier`, and so are the resulting bits.
"""

import collections
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lenet_pl.batch import Batch
from lenet_pl.engine.cuda_graph import GraphedStep
from lenet_pl.engine.device_step import DeviceStep, needs_no_wait
from lenet_pl.engine.divergence import check_divergence, diverged
from lenet_pl.engine.loop_state import LoopState, count_steps
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.errors import SettingError
from lenet_pl.optim.clipping import ClipAlgorithm
from lenet_pl.optim.fused_adam import FusedAdam
from lenet_pl.runtime.seeding import keep_global
from lenet_pl.runtime.signals import SignalHandler

STEPS_PER_CHUNK = 20


class ChunkedClassifier(ImageClassifier):
    """`ImageClassifier` with up to `steps_per_hook` optimizer steps per Lightning step, for one process.

    Optimization is manual. The hooks of a training batch run once per chunk, and those of an optimizer step do not run.
    `trainer.global_step` counts optimizer steps. Lightning logs nothing in a step; `MetricsHistory` logs the loss of
    each step at the end of the epoch.

    On a GPU, with a fused optimizer of torch, the host does not wait for a step: what is not finite is found at the end
    of the chunk, and the weights are those before the step in which it arose. See `DeviceStep` and `GraphedStep`.

    Args:
        args: The arguments of `ImageClassifier`.
        steps_per_hook: The largest number of optimizer steps per Lightning step.
        gradient_clip_val: The largest norm or absolute value of the gradient; None for no gradient clipping.
        gradient_clip_algorithm: Whether the limit applies to the norm or to each value.
        signals: The signal handler, checked after each optimizer step.
        cuda_graph: Whether steps on a GPU are captured as a CUDA graph; "auto": if that does not fail.
        kwargs: The keyword arguments of `ImageClassifier`.

    Raises:
        DivergenceError: In a training step, if a loss or gradient is not finite.
        Interruption: In a training step, if a signal has arrived; raised after an optimizer step.
    """

    def __init__(
        self,
        *args: Any,
        steps_per_hook: int = STEPS_PER_CHUNK,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: ClipAlgorithm = "norm",
        signals: SignalHandler | None = None,
        cuda_graph: bool | Literal["auto"] = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False
        self.steps_per_hook = steps_per_hook
        self.gradient_clip_val, self.gradient_clip_algorithm = gradient_clip_val, gradient_clip_algorithm
        self.signals = signals or SignalHandler()
        self.cuda_graph = cuda_graph
        self._device_step: DeviceStep | None = None
        self._fused: FusedAdam  # these three for the training
        self._checked: list[nn.Parameter]
        self._take: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # `_device_step`, or its graph

    def configure_optimizers(self) -> Any:
        found = super().configure_optimizers()
        # Lightning would warn that it ignores when to step the scheduler
        return found | {"lr_scheduler": self._schedule["scheduler"]} if self._schedule else found

    def on_train_start(self) -> None:
        super().on_train_start()
        optimizer = self.trainer.optimizers[0]
        self._fused, self._checked = FusedAdam(optimizer), list(self.parameters())
        if needs_no_wait(self.device, optimizer):
            step = self._device_step = DeviceStep(self, optimizer, self.gradient_clip_val, self.gradient_clip_algorithm)
            required = self.cuda_graph is True
            scheduler = self._schedule.get("scheduler")
            self._take = GraphedStep(step, scheduler, required=required) if self.cuda_graph else step
        elif self.cuda_graph is True:
            raise SettingError(
                "trainer.cuda_graph: got true with an optimizer that is not fused; must be auto or false"
            )

    def on_train_end(self) -> None:
        self._fused = self._device_step = self._take = None  # type: ignore[assignment]  # with the memory of the graph

    def training_step(self, dataloader_iter: Iterator[tuple[Batch, int, int]]) -> None:  # type: ignore[override]
        by_step = self._schedule["scheduler"] if self._schedule.get("interval") == "step" else None
        if self.step_in_epoch == self.trainer.num_training_batches:  # a run that was interrupted after the last step
            collections.deque(dataloader_iter, maxlen=0)  # Lightning ends the epoch when the iterator ends
        # Lightning's context of mixed precision covers the whole training step, but batches are made in full precision
        first = self.step_in_epoch
        with keep_global(self.device), torch.autocast(self.device.type, enabled=False):
            try:
                for batch, _, _ in itertools.islice(dataloader_iter, self.steps_per_hook):
                    self._optimizer_step(batch)
                    count_steps(self.trainer)
                    if by_step:
                        by_step.step()
                    if self.step_in_epoch < self.trainer.num_training_batches:  # else at the end of the epoch
                        self.signals.check()
            finally:  # also before the checkpoint of an interruption
                self._check_chunk(first)

    def _optimizer_step(self, batch: Batch) -> None:
        if self._device_step:
            self.seed_step()
            mixed = getattr(batch, "mixed", None)
            if mixed is None:
                outcome, predictions = self._take(batch[0], batch[1])
            else:  # a graph would not get the other labels
                outcome, predictions = self._device_step(batch[0], batch[1], mixed)
            self._device_step.keep(outcome)
            self.keep_outputs(outcome[0], predictions, batch)
            return
        with self.trainer.precision_plugin.forward_context():
            loss = self.training_loss(batch)
        self._fused.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        check_divergence(self, self.gradient_clip_val, self.gradient_clip_algorithm, self._checked)
        self._fused.step()

    def _check_chunk(self, first: int) -> None:
        """Raise DivergenceError if a step from `first` on was not finite, with the counters of that step."""
        found = self._device_step.first_divergence() if self._device_step else None
        if found:
            before, odd = found
            count_steps(self.trainer, first + before - self.step_in_epoch)
            for values in (self._steps, self._scales, self.step_lrs):
                del values[first + before + 1 :]
            raise diverged(self, odd)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count batches instead of chunks, so that checkpoints do not depend on the size of chunks."""
        super().on_save_checkpoint(checkpoint)
        LoopState(checkpoint).count_batches(self.step_in_epoch)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        by_epoch = self._schedule.get("interval", "epoch") == "epoch" and not self._steps_plateau_itself
        if self._schedule and by_epoch:  # Lightning steps no scheduler with manual optimization
            self._schedule["scheduler"].step()
