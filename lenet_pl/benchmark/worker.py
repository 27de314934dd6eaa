"""Worker processes of the benchmark: one for the ordinary loops, one for those that keep freed memory."""

import contextlib
import csv
import io
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lenet_pl.benchmark.loops import (
    LENET_PL,
    PLAIN,
    TUNED,
    TUTORIAL,
    TimedRun,
    Workload,
    plain_loop,
    tuned_loop,
    tutorial_loop,
)
from lenet_pl.engine.build import build_datamodule, build_task
from lenet_pl.runtime.memory import tune_malloc
from lenet_pl.runtime.threads import default_waiting
from lenet_pl.settings import TrainSettings
from lenet_pl.train import train

KINDS: dict[str, Callable[[nn.Module, Workload], TimedRun]] = {
    TUTORIAL: tutorial_loop,
    PLAIN: plain_loop,
    TUNED: tuned_loop,
}
WARM_UP = 4  # steps of each loop before the measurement
_prepared: dict[str, TimedRun] = {}


class Workers:
    """Two worker processes, so that the ordinary loops run without the process settings of lenet_pl.

    The workers ignore Ctrl-C, which a terminal sends to every process. The parent process ends them.

    Args:
        threads: The number of intra-op threads of each worker; None for torch's default.
    """

    def __init__(self, threads: int | None) -> None:
        fresh, others = get_context("spawn"), set(active_children())
        # Removed by the parent, so that killed workers leave nothing behind
        self._place = tempfile.TemporaryDirectory()
        self._ordinary, self._tuned = (
            ProcessPoolExecutor(1, fresh, initializer=_begin, initargs=(threads, keep, self._place.name))
            for keep in (False, True)
        )
        with _ctrl_c_ignored():
            with default_waiting():
                self._ordinary.submit(os.getpid)  # starts the process
            self._tuned.submit(os.getpid)
        self._processes = set(active_children()) - others

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            for process in self._processes:
                process.kill()
        self._ordinary.shutdown()
        self._tuned.shutdown()
        self._place.cleanup()

    def do(self, loop: str, work: Callable[..., Any], *given: Any) -> Any:
        """Call a function in the worker of a loop, and wait for the result.

        Args:
            loop: The name of the loop, which selects the worker.
            work: The function, which must be picklable.
            *given: The arguments of the function.

        Returns:
            The result of the function.
        """
        process = self._tuned if loop in (TUNED, LENET_PL) else self._ordinary
        return process.submit(work, *given).result()


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, so that processes started in the block inherit this. Outside the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(threads: int | None, keep: bool, place: str) -> None:
    tempfile.tempdir = place
    if threads:
        torch.set_num_threads(threads)
    if keep:
        tune_malloc()


def prepare(loop: str, settings: TrainSettings) -> float:
    """Prepare and warm up a loop in this worker, and return a first estimate of its images per second."""
    data = build_datamodule(settings)
    torch.manual_seed(settings.seed)
    model = build_task(settings, data).model.train()
    batch_size = settings.loader.batch_size
    run = KINDS[loop](model, Workload.from_data(data, batch_size))
    _prepared[loop] = run
    run(WARM_UP * batch_size)
    return WARM_UP * batch_size / run(WARM_UP * batch_size)


def rate(loop: str, count: int) -> float:
    """Train a prepared loop on `count` images, and return the images per second."""
    return count / _prepared[loop](count)


def own_rate(settings: TrainSettings) -> float:
    """Train with lenet_pl and return the images per second of the last epoch, without validation."""
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        train(settings, Path(place))
        return last_rate(Path(place))


def last_rate(folder: Path) -> float:
    """Read the images per second of the last epoch from a run folder."""
    with (folder / "metrics.csv").open() as stream:
        return float(list(csv.DictReader(stream))[-1]["images/s"])
