"""Whole optimizer steps as one CUDA graph, which the host launches at once instead of kernel by kernel.

This is the only module of the training that knows of CUDA graphs.
"""

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, optim

from lenet_pl.engine.device import device_kind
from lenet_pl.engine.device_step import DeviceStep
from lenet_pl.errors import SettingError
from lenet_pl.optim.ema import EMAModel
from lenet_pl.plugins.build import entry_of
from lenet_pl.settings import TrainSettings

WARM_UP = 3  # steps before the capture, in which libraries and optimizers initialize themselves
Outputs = tuple[Tensor, Tensor]


def choose_cuda_graph(settings: TrainSettings, why_step_hooks: str) -> Literal["auto", False, True]:
    """Resolve `trainer.cuda_graph` as far as the settings tell.

    Args:
        settings: The training settings.
        why_step_hooks: What needs the hooks of each step; empty if the fast path is used.

    Returns:
        False to run steps one by one, True to capture them, "auto" to capture them if that does not fail.

    Raises:
        SettingError: It is true, but steps cannot be captured.
    """
    given = settings.trainer
    reasons = {
        f"trainer.accelerator={given.accelerator}, without a CUDA device": device_kind(given) != "gpu",
        why_step_hooks: bool(why_step_hooks),
        f"trainer.compile={given.compile}": given.compile_mode is not None,
        "trainer.detect_anomaly=true": given.detect_anomaly,
        "augment.mixup or cutmix": settings.augment.mixup > 0 or settings.augment.cutmix > 0,
        "teacher": settings.teacher is not None,
        f"optimizer={settings.optimizer.name}": settings.optimizer.name not in ("adam", "adamw", "sgd"),
    }
    why = next((reason for reason, prevents in reasons.items() if prevents), "")
    if given.cuda_graph is True and why:
        raise SettingError(f"trainer.cuda_graph: got true with {why}; must be auto or false")
    # Code of plug-ins may depend on values that a graph would repeat for ever, without an error
    plugged = any(entry_of(kind, getattr(settings, kind)).plugin for kind in ("model", "loss"))
    return False if why or (given.cuda_graph == "auto" and plugged) else given.cuda_graph


class CudaGraph:
    """A function on a CUDA device, captured as a graph.

    Source: torch's documentation, "CUDA semantics", "Whole-network capture".
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: Any = None

    def warm_up(self, work: Callable[[], Outputs]) -> Outputs:
        """Call a function on the stream of the capture, since nodes of autograd remember their stream."""
        here = torch.cuda.current_stream(self.device)
        self._side.wait_stream(here)
        try:
            with torch.cuda.stream(self._side):
                return work()
        finally:
            here.wait_stream(self._side)

    def capture(self, work: Callable[[], Outputs]) -> Outputs:
        """Record the kernels of a function without running them, and return its outputs, which each replay overwrites.

        The graph contains the default generator. Each replay reads the seed and the offset that the generator has at
        that time (CUDAGraph::replay calls CUDAGeneratorState::replay_prologue), so that dropout after `seed_global` is
        that of a call.
        """
        gc.collect()  # a dead cycle could hold nodes of autograd from another stream
        here = torch.cuda.current_stream(self.device)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._side):
                outputs = work()
        except Exception:  # a capture that fails when it ends leaves its stream and the state of the generator
            torch.cuda.set_stream(here)
            generator = torch.cuda.default_generators[self.device.index or 0]
            fresh = torch.Generator(self.device).manual_seed(generator.initial_seed())
            generator.graphsafe_set_state(fresh.graphsafe_get_state())
            raise
        self._graph = graph
        return outputs

    def replay(self) -> None:
        """Launch the recorded kernels on the current stream."""
        self._graph.replay()


class GraphedStep:
    """A `DeviceStep` that is captured after a few steps and then replayed.

    The first steps of the training are the warm-up, so that nothing needs to be restored after it. Batches of another
    shape, such as the last one of an epoch, are trained without the graph, with the same kernels. When layers are
    frozen or unfrozen, or a hyperparameter other than the learning rate changes, the step is captured again.

    The optimizer step and the EMA are part of the graph, unless a scheduler changes momentum or betas in each step, or
    others have registered hooks of the optimizer step.

    Args:
        step: The step.
        scheduler: The learning-rate scheduler; None for a constant learning rate.
        required: Whether a failed capture is a SettingError.
    """

    def __init__(self, step: DeviceStep, scheduler: Any = None, *, required: bool = False) -> None:
        self.step, self.required = step, required
        hooks = len(step.optimizer._optimizer_step_post_hooks) + len(step.optimizer._optimizer_step_pre_hooks)
        self.whole = not getattr(scheduler, "cycle_momentum", False) and hooks == isinstance(
            step.task.average, EMAModel
        )
        network = step.task.model
        self._modules, self._parameters = list(network.modules()), list(network.parameters())  # slow to list
        self._graph = CudaGraph(step.task.device)
        self._gave_up = False
        self._warm: tuple[Any, ...] = ()  # state and shape of the last steps of the warm-up
        self._warm_steps = 0
        self._outputs: Outputs | None = None  # of the graph

    def __call__(self, images: Tensor, labels: Tensor) -> Outputs:
        """Take a step on a batch; arguments and returned values as for `DeviceStep`."""
        if self._gave_up:
            return self.step(images, labels)
        state, shape = self._state(), (images.shape, images.dtype, images.stride())
        if self._outputs and state == self._warm[0]:
            return self._replay(images, labels) if shape == self._warm[1] else self.step(images, labels)
        self._outputs = None
        if self._warm != (state, shape):
            self._warm, self._warm_steps = (state, shape), 0
        if self._warm_steps < WARM_UP:
            self._warm_steps += 1
            return self._graph.warm_up(lambda: self.step(images, labels))
        try:
            self._capture(images, labels)
        except Exception as error:
            first: BaseException = error
            while first.__context__ is not None:  # CUDA reports a failed capture once more when it ends
                first = first.__context__
            why = f"a step cannot be captured ({type(first).__name__}: {next(iter(str(first).splitlines()), '')})"
            if self.required:
                raise SettingError(f"trainer.cuda_graph: got true, but {why}; must be auto or false") from error
            warnings.warn(f"trainer.cuda_graph: {why}; steps run one by one", stacklevel=2)
            self._gave_up = True
            return self.step(images, labels)
        return self._replay(images, labels)

    def _capture(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.clone(), labels.clone()

        def work() -> Outputs:
            outputs = self.step.compute_gradient(self._images, self._labels)
            if self.whole:
                self.step.update()
            return outputs

        with _capturable(self.step.optimizer):
            self._outputs = self._graph.capture(work)
        self._gradients = [(p, p.grad) for p in self._parameters]

    def _replay(self, images: Tensor, labels: Tensor) -> Outputs:
        assert self._outputs
        self._images.copy_(images)
        self._labels.copy_(labels)
        self.step.set_lrs()
        self._graph.replay()
        if not self.whole:
            for parameter, gradient in self._gradients:  # a step without the graph has replaced them
                parameter.grad = gradient
            self.step.update()
        outcome, predictions = self._outputs
        return outcome.clone(), predictions.clone()

    def _state(self) -> tuple[Any, ...]:
        """Return what a graph depends on, apart from the batch."""
        flags = [m.training for m in self._modules], [p.requires_grad for p in self._parameters]
        groups = self.step.optimizer.param_groups if self.whole else []
        return *flags, [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in groups]


@contextmanager
def _capturable(optimizer: optim.Optimizer) -> Iterator[None]:
    """Set the flag without which Adam refuses to be captured; fused kernels do the same with and without it."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False  # as lenet_pl builds them
