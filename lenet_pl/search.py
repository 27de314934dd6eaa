"""Search settings on the validation part: `python -m lenet_pl.search search=learning data=fashion`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_pl.command import run_command
from lenet_pl.composition import compose
from lenet_pl.errors import SettingError
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.search import SearchSettings

if TYPE_CHECKING:
    from lenet_pl.study.space import Space


def search(settings: SearchSettings, folder: Path) -> dict[str, Any]:
    """Do trials until the study has as many as are asked for, and fill its folder, `settings.run`.

    Args:
        settings: checked settings.
        folder: of this process alone; receives settings.yaml.

    Returns:
        What results.json holds.

    Raises:
        UserError: a space, a database, data or a device that cannot be used, before anything is created; a database
            that went away; no trial was completed.
        Interruption: a signal came; the same command continues.
    """
    space = build_space(settings)
    try:
        from lenet_pl.study.session import Session
    except ModuleNotFoundError as error:
        raise SettingError(f"search: needs the package {error.name}; pip install 'lenet_pl[search]'") from None

    from lenet_pl.build import build_datamodule
    from lenet_pl.data.identity import read_identity, write_identity
    from lenet_pl.data.own_images import OwnImages
    from lenet_pl.interruption import Interruptible
    from lenet_pl.train import train
    from lenet_pl.trainer import check_device

    home = Path(settings.run)
    refuse_other_results(home)
    check_device(settings.trainer)
    begun = read_identity(home)
    way_out = ", or another run= and search.study="
    own = OwnImages(begun, home, wanted=(), instead=way_out) if begun else None
    images = build_datamodule(settings, own).identity  # absent data would otherwise fail every trial
    with Interruptible():
        session = Session(settings, space, train, images.digest if images else None)
        if begun is None:
            write_identity(home, images)
        session.begin(folder)
        session.work()
        return session.finish()


def refuse_other_results(folder: Path) -> None:
    """Raise SettingError if the folder holds what another command has made; a search would write over its results."""
    if (folder / "config.yaml").exists() or (folder / "checkpoints").exists():
        raise SettingError(f"run: {folder} holds a run; must be a new or an empty folder, or that of a study")
    try:
        task = json.loads((folder / "results.json").read_text(encoding="utf-8"))["task"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        task = "something else"
    if task != "search":
        raise SettingError(
            f"run: {folder} holds results of {task}; must be a new or an empty folder, or that of a study"
        )


def build_space(settings: SearchSettings) -> Space:
    """Check what is varied, over what the command line says of the rest.

    Raises:
        SettingError: a key, a range or a choice that no trial could have, or settings that suit no search.
    """
    from lenet_pl.study.space import Space

    if settings.test:
        raise SettingError("test: got true; accepted is false, the test part is not for choosing: search.seeds_of_best")
    if not settings.train:
        raise SettingError("train: got false; accepted is true")
    if getattr(settings.data, "accept_changes", False):
        raise SettingError("data.accept_changes: got true; accepted is false, all trials of a study have its images")
    if settings.seeds is not None:
        raise SettingError(f"seeds: got {settings.seeds}; accepted is null, and search.seeds_of_best for the best")
    if settings.trainer.devices > 1:
        raise SettingError(
            f"trainer.devices: got {settings.trainer.devices}; accepted is 1, several processes share a study: "
            "start the same command once for each device"
        )
    base = settings.model_dump(exclude={"search"})
    base["callbacks"]["checkpoint"]["monitor"] = settings.search.metric  # the best epoch is the one that is judged
    own = given_overrides()

    def group(name: str, choice: str) -> dict[str, Any]:
        others = [override for override in own if override.partition("=")[0] != name]
        section: dict[str, Any] = compose("train", TrainSettings, [*others, f"{name}={choice}"]).model_dump()[name]
        return section

    return Space(settings.search.space, base, group)


def given_overrides() -> list[str]:
    """List what the command line says about trainings; nothing outside a command."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return []
    keys = {override: override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task}
    return [o for o, key in keys.items() if key.partition(".")[0] not in ("search", "run")]


if __name__ == "__main__":
    run_command("search", SearchSettings, search)
