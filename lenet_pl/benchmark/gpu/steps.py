"""Common parameters and helpers of the steps of the part `gpu`."""

import contextlib
import copy
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from lenet_pl.benchmark.compare_loops import log_progress
from lenet_pl.benchmark.gpu.amount import Amount
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import build_trainer
from lenet_pl.runtime.signals import SignalHandler
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose

NO_GRAPH = "a CUDA graph needs a GPU"


class OutOfTime(BaseException):
    """Interruption of a step at its time limit.

    Not an `Exception`, so that the single cases of a step do not record it as their own failure.
    """


@dataclass(frozen=True)
class Bench:
    """Parameters of a step.

    Attributes:
        settings: The settings of the benchmark.
        folder: An existing folder for temporary files.
        data: The choice of the config group `data`.
        device: The device to measure.
        amount: The amount of work.
    """

    settings: BenchmarkSettings
    folder: Path
    data: str
    device: torch.device
    amount: Amount

    @property
    def accelerator(self) -> str:
        """The device as Lightning's `accelerator`: gpu or cpu."""
        return "gpu" if self.device.type == "cuda" else "cpu"

    def given(self, *overrides: str) -> TrainSettings:
        """Compose the settings of a training on the device, in fp32 and without output."""
        data = next((word[5:] for word in overrides if word.startswith("data=")), self.data)
        own = [f"data={data}", f"data_root={self.settings.data_root}", f"trainer.accelerator={self.accelerator}"]
        own += ["data.download=false"] if data not in ("digits", "fake") else []
        # Fixed, as lenet_pl would choose bf16 on CPUs with bf16 instructions, and the GPU is compared in fp32
        own += ["trainer.precision=32-true", "trainer.num_threads=1", "logger=none", "test=false"]
        own += ["callbacks.progress_bar=false", "callbacks.model_summary=false"]
        return compose(
            "train", TrainSettings, ["run=unused", *own, *(word for word in overrides if not word.startswith("data="))]
        )

    def synchronize(self) -> None:
        """Wait until all work on the device is complete."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def fit(
    given: TrainSettings,
    folder: Path,
    data: ImageDataModule | None = None,
    callbacks: Sequence[Callback] = (),
    signals: SignalHandler | None = None,
    resume: Path | None = None,
) -> tuple[lightning.Trainer, ImageClassifier]:
    """Train as the train command does, without its final plots and tables.

    Args:
        given: The settings of the training.
        folder: The run folder, which may exist.
        data: The data, which is not modified; None to load it according to the settings.
        callbacks: Callbacks in addition to those of the settings.
        signals: The signal handler; None for one that handles no signals.
        resume: The checkpoint from which the training continues; None to start a new one.

    Returns:
        The trainer and the trained task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(given.seed, verbose=False)
    data = copy.copy(data) if data else build_datamodule(given)
    task = build_task(given, data, signals)
    trainer = build_trainer(given, folder, callbacks, signals)
    trainer.fit(task, data, ckpt_path=resume, weights_only=True if resume else None)
    return trainer, task


@contextlib.contextmanager
def switches(*, tf32: bool | None = None, fast: bool = False) -> Iterator[None]:
    """Set global switches of torch within a block, and turn off deterministic algorithms.

    An earlier training may have turned deterministic algorithms on. They stay off after the block.

    Args:
        tf32: Whether products and convolutions use TF32; None to leave torch's defaults, TF32 for convolutions only.
        fast: Whether cuDNN benchmarks its algorithms and chooses the fastest ones.
    """
    product, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = product.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    if tf32 is not None:
        product.allow_tf32 = cudnn.allow_tf32 = tf32
    cudnn.benchmark = fast
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        product.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


def attempt(record: dict[str, Any], name: str, work: Callable[[], Any]) -> None:
    """Call a function, and record its result or its failure.

    Args:
        record: The record to write to.
        name: The key in the record, which is also printed.
        work: The function to call.
    """
    log_progress(f"  {name}")
    begin = time.perf_counter()
    try:
        record[name] = work()
    except Exception as error:
        record[name] = failure(error)
    log_progress(f"    {time.perf_counter() - begin:.1f} s")


def failure(error: BaseException) -> dict[str, Any]:
    """Print an error, and return it as plain values: one line in `failed`, and the `traceback`."""
    first = next(iter(str(error).splitlines()), "")
    log_progress(f"    failed: {type(error).__name__}: {first}")
    return {"failed": f"{type(error).__name__}: {first}", "traceback": "".join(traceback.format_exception(error))}


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after a number of seconds.

    Without timer signals, or outside the main thread, there is no limit.

    Args:
        seconds: The time limit.

    Raises:
        OutOfTime: If the block takes longer.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"stopped after {seconds:.0f} s, the time limit of this step")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
