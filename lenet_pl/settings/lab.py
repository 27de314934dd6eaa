"""Settings of `python -m lenet_pl.lab`."""

from typing import Annotated

from pydantic import Field, field_validator

from lenet_pl.config_files.groups import choices
from lenet_pl.errors import did_you_mean
from lenet_pl.settings.types import LocalPath, Settings

OF_THE_USER = ("arrays", "fake", "folder")  # kinds of data that need further settings, or are no images


class LabSettings(Settings):
    """What the page offers, and its address."""

    output_dir: LocalPath
    """Folder that receives a run folder for each training."""
    max_running: Annotated[int, Field(ge=1, le=64)]
    """Number of trainings at once, paused ones included."""
    datasets: Annotated[list[str], Field(min_length=1)]
    """Datasets that the page offers, choices of the group `data`; those that are not on this machine are left out."""
    data_root: LocalPath
    """Folder in which datasets are looked for."""
    host: Annotated[str, Field(min_length=1)]
    """Address that the server listens on."""
    port: Annotated[int, Field(ge=0, le=65535)]
    """Port of the server; 0: any free one."""
    traceback: bool
    """Whether errors show where in the code they arose."""

    @field_validator("datasets")
    @classmethod
    def _check_datasets(cls, names: list[str]) -> list[str]:
        known = [name for name in choices("data") if name not in OF_THE_USER]
        for name in names:
            if name not in known:
                near = did_you_mean(name, known)
                raise ValueError(f"got {name}; must be of {', '.join(known)}{near and f'; {near}'}")
        return names
