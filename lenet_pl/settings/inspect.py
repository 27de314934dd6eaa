"""Settings of `python -m lenet_pl.inspect`."""

from typing import Annotated

from pydantic import AfterValidator, Field

from lenet_pl.config_files.groups import choices
from lenet_pl.errors import did_you_mean
from lenet_pl.settings.data import AnyDataSettings
from lenet_pl.settings.extra_parts import Plugins
from lenet_pl.settings.types import LocalPath, PositiveInt, Settings, Threads


def _check_network(name: str) -> str:
    if name not in (known := choices("model")):
        near = did_you_mean(name, known)
        raise ValueError(f"got {name}; must be one of {', '.join(known)}{near and f'; {near}'}")
    return name


class InspectSettings(Settings):
    """The dataset to inspect, and what to look for."""

    data: AnyDataSettings
    """Dataset."""
    near_duplicates: Annotated[float, Field(ge=0.9, le=1)] | None
    """Smallest correlation of near duplicates; null: neither they nor outliers are searched."""
    label_errors: bool
    """Whether networks are trained to find probable label errors."""
    network: Annotated[str, AfterValidator(_check_network)]
    """Network that is trained for label errors, a choice of the group `model`."""
    folds: Annotated[int, Field(ge=2, le=100)]
    """Number of folds, each predicted by a network that was trained without it."""
    epochs: PositiveInt | None
    """Epochs of each training; null: 5, or as many as make 250 optimizer steps."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of the folds and of the trainings."""
    num_threads: Threads
    """Intra-op threads; null: as many as torch finds."""
    max_pictures: Annotated[int, Field(ge=1, le=400)]
    """Images of each kind on the page."""
    data_root: LocalPath
    """Folder in which datasets are looked for and downloaded to."""
    output_dir: LocalPath
    """Folder that receives the files."""
    traceback: bool
    """Whether errors show where in the code they arose."""
    plugins: Plugins
    """Modules that register further parts, such as a dataset."""
