"""The loggers that write to the run folder alone: TensorBoard and CSV."""

import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from lenet_pl.display.figure import Figure
from lenet_pl.engine.loggers.interface import Params, RunLogger
from lenet_pl.errors import display_path
from lenet_pl.runtime.memory import clear_jit_cache


class TensorBoardRun(RunLogger, TensorBoardLogger):
    """TensorBoard logger of a run."""

    product = "TensorBoard"

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

    def view(self) -> str:
        return f"tensorboard --logdir {shlex.quote(display_path(Path(self.root_dir)))}"

    def _log_figure(self, name: str, figure: Figure, file: Path, step: int) -> None:
        self.experiment.add_figure(name, figure, step, close=False)

    def _log_end(self, params: Params, metrics: Mapping[str, float], step: int) -> None:
        self.log_hyperparams(params, dict(metrics))
        self.finalize("success")  # again: logging after Lightning's finalize has reopened the writer


class CsvRun(RunLogger, CSVLogger):
    """CSV logger of a run."""

    product = "the CSV log"
