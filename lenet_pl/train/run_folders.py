"""The run folders of a command that trains several times."""

from pathlib import Path

from lenet_pl.settings import TrainSettings


def run_folders(settings: TrainSettings, folder: Path) -> list[Path]:
    """Return the run folder of each seed or fold; of a single training the folder itself."""
    if settings.seeds is not None:
        return [folder / f"seed_{seed}" for seed in settings.seeds]
    if settings.folds is not None:
        return [folder / f"fold_{number}" for number in range(1, settings.folds + 1)]
    return [folder]
