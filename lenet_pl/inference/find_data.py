"""The data of a run that was started in another working directory."""

from pathlib import Path
from typing import Any

from lenet_pl.settings import DataSettings

PATHS = ("path", "test_path")  # not `root`, since missing published files would be downloaded to where it is found


def find_data(settings: DataSettings, folder: Path) -> DataSettings:
    """Look for relative paths of recorded settings in the folders that contain the run, if they are not here.

    A run folder is usually below the directory in which the training was started. Whether the images are those of the
    run is checked later, by their digests.

    Args:
        settings: The recorded settings of the data.
        folder: The run folder.

    Returns:
        The settings, with the paths that were found; paths that were not found stay as they are.
    """
    found: dict[str, Any] = {}
    for key in PATHS:
        value = getattr(settings, key, None)
        if not value or Path(value).is_absolute() or Path(value).exists():
            continue
        places = (parent / value for parent in folder.resolve().parents)
        if place := next((place for place in places if place.exists()), None):
            found[key] = type(value)(place)
    return settings.model_copy(update=found)
