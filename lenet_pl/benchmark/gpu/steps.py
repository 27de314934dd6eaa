"""What the steps of the part `gpu` share: how much they do, the settings of their trainings, and what failed."""

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
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.engine.task import ImageClassifier
from lenet_pl.engine.trainer import build_trainer
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.benchmark import BenchmarkSettings
from lenet_pl.settings.compose import compose

NO_GRAPH = "a CUDA graph needs a GPU"


class OutOfTime(BaseException):
    """The time of a step is over; not an Exception, so that no case of the step takes it for its own failure."""


@dataclass(frozen=True)
class Amount:
    """How much is done.

    Attributes:
        models: choices of the group `model`, for the rates.
        batches: images per step, for the rates.
        rounds: of interleaved loops.
        seconds: about how long each loop runs in a round.
        many: steps in one CUDA graph.
        epochs, epoch_steps: of the trainings that are compared with those on the CPU.
        own_seeds: of the recipe through lenet_pl.
        graph_seeds: of the recipe as a CUDA graph.
        candidates: settings of the recipe that are tried, at most.
        networks: numbers of networks at once.
        ddp_steps: that are timed.
        compiled: try torch.compile.
    """

    models: tuple[str, ...]
    batches: tuple[int, ...]
    rounds: int
    seconds: float
    many: int
    epochs: int
    epoch_steps: int
    own_seeds: int
    graph_seeds: int
    candidates: int
    networks: tuple[int, ...]
    ddp_steps: int
    compiled: bool


FULL = Amount(
    models=("lenet5", "lenet_bn", "cnn5_bn"),
    batches=(128, 512, 2048),
    rounds=3,
    seconds=0.25,
    many=20,
    epochs=3,
    epoch_steps=100,
    own_seeds=5,
    graph_seeds=20,
    candidates=99,
    networks=(1, 4, 16, 64),
    ddp_steps=300,
    compiled=True,
)
SMALL = Amount(
    models=("lenet5",),
    batches=(128,),
    rounds=1,
    seconds=0.02,
    many=2,
    epochs=2,
    epoch_steps=5,
    own_seeds=1,
    graph_seeds=2,
    candidates=2,
    networks=(1, 2),
    ddp_steps=5,
    compiled=False,
)


@dataclass(frozen=True)
class Bench:
    """What every step is given: settings, a folder for what it writes, the choice of `data`, the device, the amount."""

    settings: BenchmarkSettings
    folder: Path
    data: str
    device: torch.device
    amount: Amount

    @property
    def accelerator(self) -> str:
        """Lightning's name of the device."""
        return "gpu" if self.device.type == "cuda" else "cpu"

    def given(self, *overrides: str) -> TrainSettings:
        """Compose the settings of a training on the device, in fp32 and with nothing shown."""
        own = [f"data={self.data}", f"data_root={self.settings.data_root}", f"trainer.accelerator={self.accelerator}"]
        own += ["data.download=false"] if self.data not in ("digits", "fake") else []
        # A CPU that multiplies bf16 would choose it, and be compared with fp32 on the GPU
        own += ["trainer.precision=32-true", "trainer.num_threads=1", "logger=none", "test=false"]
        own += ["callbacks.progress_bar=false", "callbacks.model_summary=false"]
        return compose("train", TrainSettings, ["run=unused", *own, *overrides])

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def fit(
    given: TrainSettings, folder: Path, data: ImageDataModule | None = None, callbacks: Sequence[Callback] = ()
) -> tuple[lightning.Trainer, ImageClassifier]:
    """Train as the command does, without the pictures and tables that it closes with."""
    folder.mkdir(parents=True, exist_ok=True)
    lightning.seed_everything(given.seed, verbose=False)
    data = copy.copy(data) if data else build_datamodule(given)
    data.limit_train_batches = given.trainer.limit_train_batches  # it was perhaps built for epochs of another length
    task = build_task(given, data)
    trainer = build_trainer(given, folder, callbacks)
    trainer.fit(task, data)
    return trainer, task


@contextlib.contextmanager
def switches(*, tf32: bool | None = None, fast: bool = False) -> Iterator[None]:
    """Set torch's switches for a while.

    Args:
        tf32: of products and convolutions; None: as torch has it, convolutions only.
        fast: let cuDNN choose its algorithms by measurement. In any case nothing has to be deterministic, which a
            training before may have asked for.
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
    """Note what a piece of work returns, or in one line and a traceback that it failed."""
    log_progress(f"  {name}")
    begin = time.perf_counter()
    try:
        record[name] = work()
    except Exception as error:
        record[name] = failure(error)
    log_progress(f"    {time.perf_counter() - begin:.1f} s")


def failure(error: BaseException) -> dict[str, Any]:
    """Describe an error as plain values."""
    first = next(iter(str(error).splitlines()), "")
    log_progress(f"    failed: {type(error).__name__}: {first}")
    return {"failed": f"{type(error).__name__}: {first}", "traceback": "".join(traceback.format_exception(error))}


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime after some seconds; where there are no such signals, or not in this thread, never."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"stopped after {seconds:.0f} s, the time that this step has")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
