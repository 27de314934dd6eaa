"""Whether the networks of several seeds are trained at once: what it cannot do, and which way is faster here."""

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from lenet_pl.build import build_task
from lenet_pl.data.datamodule import ImageDataModule
from lenet_pl.errors import SettingError
from lenet_pl.optimizers import build_optimizer
from lenet_pl.seeds.stacked import StackedNetworks, draws_otherwise
from lenet_pl.settings import TrainSettings
from lenet_pl.trainer import choose_precision, device_kind

WORTH_IT = 1.05  # times as fast; less is within what a measurement is off
SAMPLE = 2  # networks whose steps one after another are measured for all
ROUNDS, LEAST_ROUNDS = 15, 3
SECONDS = 2.0  # after which no further round is begun


@dataclass(frozen=True)
class Choice:
    """Whether the networks are trained at once, and why, in a line that can be shown.

    Attributes:
        ratio: time one after another / time at once, of a step; None where it was not measured.
    """

    together: bool
    why: str
    ratio: float | None = None


def choose(settings: TrainSettings, data: ImageDataModule, networks: int) -> Choice:
    """Choose as `vectorise` says.

    Args:
        settings: of the trainings.
        data: data module of one of them.
        networks: that are still to be trained.

    Raises:
        SettingError: `vectorise=true`, and it cannot be; or the network does not fit the data.
    """
    if settings.vectorise is False:
        return Choice(False, "one after another, as vectorise=false says")
    obstacle = find_obstacle(settings, networks) or find_randomness(settings, data)
    if obstacle and settings.vectorise is True and networks > 1:
        raise SettingError(f"vectorise: got true, and {obstacle}; accepted is false or auto")
    if obstacle:
        return Choice(False, f"one after another, as {obstacle}")
    if settings.vectorise is True:
        return Choice(True, f"{networks} at once, as vectorise=true says")
    ratio = measure(settings, data, networks)
    if ratio < WORTH_IT:
        return Choice(False, f"one after another; a step of all {networks} at once is {ratio:.2f} times as fast", ratio)
    return Choice(True, f"{networks} at once; a step is {ratio:.2f} times as fast as one after another", ratio)


def find_obstacle(settings: TrainSettings, networks: int) -> str | None:
    """Say what stands against training several at once; None if nothing does."""
    precision, kind = choose_precision(settings.trainer), device_kind(settings.trainer)
    if networks == 1:
        return "there is one seed to train"
    if not settings.train:
        return "nothing is trained"
    if settings.trainer.compile:
        return "networks compiled by torch.compile cannot be stacked"
    if settings.trainer.profiler:
        return "a profiler would take what all do for what one does"
    if settings.model.architecture != "convnet":
        return f"networks of {settings.model.architecture} cannot be stacked"
    if settings.loss.name != "cross_entropy":
        return f"the loss {settings.loss.name} has one network at a time"
    if settings.optimizer.name == "sdlm":
        return "sdlm estimates the curvature of one network at a time"
    if precision != "32-true":  # the others set for a whole process, or a thread, what one training needs
        return f"precision {precision} cannot be trained at once"
    if kind == "mps":
        return "mps has not been tried"
    return None


def find_randomness(settings: TrainSettings, data: ImageDataModule) -> str | None:
    """Say that the network draws random numbers that would not be those of one alone; None if it does not."""
    with torch.random.fork_rng():
        model = build_task(settings, data).model
    return (
        f"{settings.model.name} draws random numbers for more than nn.Dropout"
        if draws_otherwise(model, data.example())
        else None
    )


def measure(settings: TrainSettings, data: ImageDataModule, networks: int) -> float:
    """Time a step both ways, in turn, on random images; nothing of it remains, nor are random numbers used up.

    Returns:
        Time of a step one after another / time at once; the median over rounds.
    """
    device = torch.device("cuda" if device_kind(settings.trainer) == "gpu" else "cpu")
    with torch.random.fork_rng():
        one_after_another, at_once = build_steps(settings, data, networks, device)
        ratios: list[float] = []
        start = time.perf_counter()
        for _ in range(1 + ROUNDS):  # the first one warms up
            alone, together = _time(one_after_another, device), _time(at_once, device)
            ratios.append(alone * networks / SAMPLE / together)
            if len(ratios) > LEAST_ROUNDS and time.perf_counter() - start > SECONDS:
                break
    return statistics.median(ratios[1:])


def build_steps(
    settings: TrainSettings, data: ImageDataModule, networks: int, device: torch.device, sample: int = SAMPLE
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Make two functions: one takes a step of `sample` networks one after another, the other one of all at once."""
    task = build_task(settings, data).to(device).train()
    size = (min(settings.loader.batch_size, len(data.train_set)), *data.example().shape[1:])
    images = [torch.rand(size, device=device).contiguous(memory_format=torch.channels_last) for _ in range(networks)]
    labels = [torch.randint(len(data.classes), size[:1], device=device) for _ in range(networks)]
    copies = [copy.deepcopy(task.model) for _ in range(networks)]
    stack = StackedNetworks(copies, task.class_weights, task.label_smoothing)
    alone = [copy.deepcopy(task.model) for _ in range(sample)]
    optimizers = {id(model): build_optimizer(settings.optimizer, model.parameters()) for model in copies + alone}

    def one_after_another() -> None:
        for model, some, their in zip(alone, images, labels, strict=False):
            optimizers[id(model)].zero_grad()
            loss = functional.cross_entropy(
                model(some), their, weight=task.class_weights, label_smoothing=task.label_smoothing
            )
            loss.backward()  # type: ignore[no-untyped-call]
            optimizers[id(model)].step()

    def at_once() -> None:
        stack.backward(images, labels, range(networks))
        for model in copies:
            optimizers[id(model)].step()

    return one_after_another, at_once


def _time(step: Callable[[], None], device: torch.device) -> float:
    """Return s."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
