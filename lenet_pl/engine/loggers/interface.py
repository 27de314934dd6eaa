"""The interface of the loggers of a run: figures, files and final metrics, and errors that do not stop a training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from lenet_pl.display.figure import Figure
from lenet_pl.errors import printable
from lenet_pl.runtime.optional_work import optional

End = Literal["finished", "failed", "interrupted"]
Params = dict[str, int | float | bool | str]


class RunLogger(Logger):
    """Logger that is switched off with a note after its first error, so that a full disk does not stop the training.

    It is combined with one of Lightning's loggers, `class CsvRun(RunLogger, CSVLogger)`. A logger overrides those of
    the methods with a leading underscore for which its service has a place. Only rank 0 logs.

    Attributes:
        product: The name of the service, for notes.
        notes: The note about the error; empty if there was none.
    """

    product = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes: list[str] = []

    def log_metrics(self, *args: Any, **kwargs: Any) -> None:
        self.attempt(super().log_metrics, *args, **kwargs)  # type: ignore[safe-super]

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        self.attempt(super().log_hyperparams, *args, **kwargs)  # type: ignore[safe-super]

    def save(self) -> None:
        self.attempt(super().save)

    def finalize(self, status: str) -> None:
        self.attempt(super().finalize, status)

    def start(self, params: Params) -> None:
        """Create the logger run, or open the one of the run that is resumed.

        Args:
            params: The settings, by dotted key.
        """
        self.attempt(self._start, params)

    def log_figure(self, name: str, figure: Figure, file: Path, step: int) -> None:
        """Log a figure.

        Args:
            name: The name, such as "curves".
            figure: The figure.
            file: The PNG file of the figure.
            step: The number of finished optimizer steps.
        """
        self.attempt(self._log_figure, name, figure, file, step)

    def log_file(self, file: Path) -> None:
        """Log a file of the run folder."""
        self.attempt(self._log_file, file)

    def log_end(self, params: Params, metrics: Mapping[str, float], step: int) -> None:
        """Log the settings together with the final metrics."""
        self.attempt(self._log_end, params, metrics, step)

    def view(self) -> str:
        """Return the command or the address with which the run is viewed; empty if there is none."""
        return ""

    def flush(self) -> None:
        """Write what is in memory."""

    def close(self, end: End) -> None:
        """Close the logger run."""
        self.attempt(self._close, end)

    def _start(self, params: Params) -> None:
        pass

    def _log_figure(self, name: str, figure: Figure, file: Path, step: int) -> None:
        pass

    def _log_file(self, file: Path) -> None:
        pass

    def _log_end(self, params: Params, metrics: Mapping[str, float], step: int) -> None:
        pass

    def _close(self, end: End) -> None:
        pass

    def attempt(self, write: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        """Call a function that writes, unless an earlier one has failed or this is not rank 0."""
        if not self.notes and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            with optional(f"part of the output of {self.product}", self.notes):
                write(*args, **kwargs)


def run_loggers(loggers: Sequence[Logger]) -> list[RunLogger]:
    """Select the loggers with this interface; there may be others, of the user."""
    return [logger for logger in loggers if isinstance(logger, RunLogger)]


def flatten(values: dict[str, Any], prefix: str = "") -> Params:
    """Flatten nested settings to dotted keys. Values other than numbers and booleans become printable text."""
    flat: Params = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, int | float | bool) else printable(str(value))
    return flat
