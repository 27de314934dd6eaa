"""Settings of `python -m lenet_pl.datasets`."""

from typing import Annotated, Literal

from pydantic import Field

from lenet_pl.settings.types import LocalPath, Settings

Name = Literal["mnist", "fashion", "kmnist", "qmnist", "emnist", "usps", "cifar10"]


class DatasetsSettings(Settings):
    """The published datasets, and what to do with their files."""

    action: Literal["list", "fetch", "verify", "pack", "unpack"]
    """What to do with the files."""
    names: list[Name]
    """Published datasets; empty: all, or for verify and pack those that are here."""
    archive: LocalPath | None
    """Archive that pack writes and unpack reads."""
    mirror: Annotated[str, Field(pattern=r"^https?://\S+/$")] | None
    """Address of a folder that is tried before the published addresses, with the files of one dataset."""
    data_root: LocalPath
    """Folder in which datasets are looked for and downloaded to."""
    traceback: bool
    """Whether errors show where in the code they arose."""
