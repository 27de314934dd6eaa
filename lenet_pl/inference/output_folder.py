"""The output folder of a command that uses trained networks."""

from datetime import datetime
from pathlib import Path
from typing import Protocol

from lenet_pl.errors import SettingError
from lenet_pl.settings.trained import TrainedSettings


class InFolder(Protocol):
    """A run, whether a network is left of it or not."""

    @property
    def folder(self) -> Path: ...


def output_folder(settings: TrainedSettings, run: InFolder, command: str) -> Path:
    """Create the output folder of a command: `output_dir`, or a new one `<run>/<command>/<time>`.

    Raises:
        SettingError: `output_dir` exists and is not an empty folder.
    """
    folder = (
        Path(settings.output_dir)
        if settings.output_dir
        else run.folder / command / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingError(f"output_dir: {folder} is not an empty folder; must be a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
