"""Loggers that a training outlives, and what TensorBoard gets of a run that has ended."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn

from lenet_pl.errors import printable
from lenet_pl.figure import Figure
from lenet_pl.memory import forget_traces
from lenet_pl.optional_work import optional


class OutlivedLogger(Logger):
    """A logger that, once it has failed, says so and is left alone: a full disk of logs ends no training.

    Attributes:
        notes: the line that it said; empty while it works.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: list[str] = []

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self._attempt(super().log_metrics, *args, **kwargs)  # type: ignore[safe-super]

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        self._attempt(super().log_hyperparams, *args, **kwargs)  # type: ignore[safe-super]

    def save(self) -> None:
        self._attempt(super().save)

    def finalize(self, status: str) -> None:
        self._attempt(super().finalize, status)

    def _attempt(self, write: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        if not self.notes:
            with optional(f"part of what the {type(self).__name__} writes", self.notes):
                write(*args, **kwargs)


class RunBoard(OutlivedLogger, TensorBoardLogger):
    """TensorBoard's files of a run."""

    def log_figure(self, name: str, figure: Figure, step: int) -> None:
        """Show a picture."""
        self._attempt(lambda: self.experiment.add_figure(name, figure, step, close=False))

    def log_network(self, model: nn.Module, example: Tensor) -> None:
        """Show the graph of a network, which is left in evaluation mode.

        Args:
            model: the network.
            example: an input, float (1, C, H, W), on its device.
        """
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit\.trace", FutureWarning)  # add_graph traces
            self.experiment.add_graph(model.eval(), example)
        forget_traces()

    def log_end(self, settings: dict[str, Any], metrics: Mapping[str, float]) -> None:
        """Show settings, nested ones with dotted names, beside the scores of the run, and close the file."""
        self.log_hyperparams(_flatten(settings), dict(metrics))
        self.finalize("success")  # what was logged since Lightning did so has opened its writer again


class RunTable(OutlivedLogger, CSVLogger):
    """Lightning's own CSV file of a run."""


def boards(loggers: Sequence[Logger]) -> list[RunBoard]:
    """Choose those that write for TensorBoard."""
    return [logger for logger in loggers if isinstance(logger, RunBoard)]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float | bool) else printable(str(value))
    return flat
