"""Search settings on the validation split: `python -m lenet_pl.search search=learning data=fashion`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.search import SearchSettings

if TYPE_CHECKING:
    from lenet_pl.search.space import Space


def search(settings: SearchSettings, folder: Path) -> dict[str, Any]:
    """Run trials until the study has the requested number, and write the results to the run folder.

    Args:
        settings: The validated settings; `settings.run` is the run folder.
        folder: The folder of this worker, which receives settings.yaml.

    Returns:
        The content of results.json.

    Raises:
        UserError: The search space, database, data or device cannot be used (raised before anything is created), the
            database did not answer within the time limit, or no trial was completed.
        Interruption: A signal arrived. The same command resumes the search.
    """
    space = build_space(settings)
    try:
        from lenet_pl.search.session import SearchWorker
    except ModuleNotFoundError as error:
        raise SettingError(f"search: needs the package {error.name}; pip install 'lenet_pl[search]'") from None

    from lenet_pl.data.data_record import read_data_record, write_data_record
    from lenet_pl.data.run_images import RunImages
    from lenet_pl.engine.build import build_datamodule
    from lenet_pl.engine.device import check_device
    from lenet_pl.runtime.signals import SignalHandler
    from lenet_pl.train import train

    home = Path(settings.run)
    check_no_other_results(home)
    check_device(settings.trainer)
    recorded = read_data_record(home)
    alternative = ", or another run= and search.study_name="
    own = RunImages(recorded, home, wanted=(), instead=alternative) if recorded else None
    images = build_datamodule(settings, own).record  # missing data would otherwise fail every trial
    with SignalHandler():
        worker = SearchWorker(settings, space, train, images.digest if images else None)
        if recorded is None:
            write_data_record(home, images)
        worker.start(folder)
        worker.work()
        return worker.finish()


def check_no_other_results(folder: Path) -> None:
    """Raise SettingError if the folder contains the output of another command, which a search would overwrite."""
    if (folder / "config.yaml").exists() or (folder / "checkpoints").exists():
        raise SettingError(f"run: {folder} contains a run; must be a new or an empty folder, or the folder of a study")
    try:
        task = json.loads((folder / "results.json").read_text(encoding="utf-8"))["task"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        task = "something else"
    if task != "search":
        raise SettingError(
            f"run: {folder} contains results of {task}; must be a new or an empty folder, or the folder of a study"
        )


def build_space(settings: SearchSettings) -> Space:
    """Build and check the search space; all other settings are those of the command line.

    Raises:
        SettingError: A key, range or choice of the space is invalid for a training, or a setting cannot be combined
            with a search.
    """
    from lenet_pl.search.space import Space

    if settings.test:
        raise SettingError(
            "test: got true; must be false, the test split is not for selection; use search.n_test_seeds"
        )
    if not settings.train:
        raise SettingError("train: got false; must be true")
    if getattr(settings.data, "accept_changes", False):
        raise SettingError("data.accept_changes: got true; must be false, all trials of a study use the same images")
    if settings.seeds is not None:
        raise SettingError(f"seeds: got {settings.seeds}; must be null; use search.n_test_seeds for more seeds")
    if settings.folds is not None:
        raise SettingError(f"folds: got {settings.folds}; must be null; cross-validate the best trial instead")
    if settings.n_jobs > 1:
        raise SettingError(
            f"n_jobs: got {settings.n_jobs}; must be 1; start the same command several times, the processes share the "
            "study"
        )
    if settings.trainer.fast_dev_run:
        raise SettingError(f"trainer.fast_dev_run: got {settings.trainer.fast_dev_run}; must be false")
    if settings.trainer.num_devices > 1:
        raise SettingError(
            f"trainer.devices: got {settings.trainer.devices}; must be 1; start the same command once per device, the "
            "processes share the study"
        )
    base = settings.model_dump(exclude={"search"})
    base["callbacks"]["checkpoint"]["monitor"] = (
        settings.search.metric
    )  # the value of a trial is that of its best epoch
    own = given_overrides()

    def group(name: str, choice: str) -> dict[str, Any]:
        others = [override for override in own if override.partition("=")[0] != name]
        section: dict[str, Any] = compose("train", TrainSettings, [*others, f"{name}={choice}"]).model_dump()[name]
        return section

    return Space(settings.search.space, base, group)


def given_overrides() -> list[str]:
    """List the overrides of the command line that concern trainings; an empty list outside a command."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    keys = {override: override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task}
    return [o for o, key in keys.items() if key.partition(".")[0] not in ("search", "run")]
