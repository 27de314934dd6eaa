"""Loggers whose failure does not stop a training, and the closing entries for TensorBoard."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch import Tensor, nn

from lenet_pl.display.figure import Figure
from lenet_pl.errors import printable
from lenet_pl.runtime.memory import clear_jit_cache
from lenet_pl.runtime.optional_work import optional


class OutlivedLogger(Logger):
    """Logger that is switched off with a note after its first error, so that a full disk does not stop the training.

    Attributes:
        notes: The note about the error; empty if there was none.
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
            with optional(f"part of the output of {type(self).__name__}", self.notes):
                write(*args, **kwargs)


class RunBoard(OutlivedLogger, TensorBoardLogger):
    """TensorBoard logger of a run."""

    def log_figure(self, name: str, figure: Figure, step: int) -> None:
        """Log a figure under `name` at an optimizer step."""
        self._attempt(lambda: self.experiment.add_figure(name, figure, step, close=False))

    def log_network(self, model: nn.Module, example: Tensor) -> None:
        """Log the graph of a network, and leave the network in evaluation mode.

        Args:
            model: The network.
            example: An input, float (1, C, H, W), on the device of the network.
        """
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit\.trace", FutureWarning)  # add_graph traces
            self.experiment.add_graph(model.eval(), example)
        clear_jit_cache()

    def log_end(self, settings: dict[str, Any], metrics: Mapping[str, float]) -> None:
        """Log the settings, with dotted names, together with the final metrics, and close the file."""
        self.log_hyperparams(_flatten(settings), dict(metrics))
        self.finalize("success")  # again: logging after Lightning's finalize has reopened the writer


class RunTable(OutlivedLogger, CSVLogger):
    """CSV logger of a run."""


def boards(loggers: Sequence[Logger]) -> list[RunBoard]:
    """Select the TensorBoard loggers."""
    return [logger for logger in loggers if isinstance(logger, RunBoard)]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float | bool) else printable(str(value))
    return flat
