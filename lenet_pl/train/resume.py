"""Resume a run in its folder with its recorded settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.artifacts.results_file import RESULTS, read_end
from lenet_pl.errors import SettingError, display_path
from lenet_pl.runtime.folder_checks import check_folder_unused, check_not_running
from lenet_pl.runtime.processes import Process, this_process
from lenet_pl.runtime.slurm import was_requeued
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.compose import compose
from lenet_pl.settings.logger import connected_by
from lenet_pl.train.recorded_settings import (
    NOT_OF_THE_RUN,
    has_fixed_length,
    names_key,
    recorded_settings,
    refuse_changes,
)
from lenet_pl.train.run_folders import run_folders


def begin_or_resume(
    settings: TrainSettings, folder: Path, overrides: Sequence[str], sweep: bool
) -> TrainSettings | None:
    """Determine the settings for a training in a folder: those of the command, or of the run to be resumed.

    A finished run is trained further if more epochs are requested and it did not stop early. Otherwise it is left
    unchanged with resume=auto and in a sweep, and an error without.

    Args:
        settings: The settings of the command.
        folder: The run folder, which exists.
        overrides: The overrides of the command line, such as "optimizer.lr=0.01".
        sweep: Whether this is one of several jobs, some of which may not have started before.

    Returns:
        The settings to train with; None if the run is finished and left unchanged.

    Raises:
        SettingError: The folder is in use, there is nothing to resume, or a setting differs from that of the run.
        DataError: config.yaml or results.json in the folder is corrupt, or was written by another program.
    """
    process = this_process(settings.trainer.num_devices)
    if not sweep:
        refuse_folders_of_their_own(process, overrides)
    check_seed_or_seeds(settings, overrides)
    if was_requeued(folder) and not settings.resume:  # by a cluster: the run in the folder belongs to this job
        settings = settings.model_copy(update={"resume": "auto"})
    accept = getattr(settings.data, "accept_changes", None)  # None for datasets that cannot change
    if not settings.resume:
        if accept:
            raise SettingError(
                "data.accept_changes: got true for a new run, which uses the data as they are; must be false, or use "
                "resume=true to resume a run"
            )
        check_folder_unused(folder, process)
        return settings
    check_not_running(folder, process)
    exists, last = (folder / "config.yaml").exists(), folder / "checkpoints" / "last.ckpt"
    if not exists and settings.resume is True and not sweep:
        raise SettingError(
            f"resume: {folder} contains no run; must be a run folder, or use resume=auto to start a new run"
        )
    if not exists:
        check_folder_unused(folder, process)
        return settings
    recorded = recorded_settings(folder, settings)
    refuse_changes(settings, recorded, overrides, known_images=(folder / "data.json").exists())
    if accept is not None and settings.data.name == recorded.data.name:
        keys = [key for key in ("path", "test_path", "accept_changes") if _gives(overrides, f"data.{key}")]
        where = {key: getattr(settings.data, key) for key in keys}
        recorded = recorded.model_copy(update={"data": recorded.data.model_copy(update=where)})
    same: dict[str, Any] = {name: getattr(settings, name) for name in (*NOT_OF_THE_RUN, "data_root")}
    if recorded.teacher_sha256 and _gives(overrides, "teacher"):  # it was moved; its digest is checked
        same["teacher"] = settings.teacher
    same["logger"] = connected_by(settings.logger, recorded.logger)
    trainer = recorded.trainer.model_copy(update={"max_epochs": settings.trainer.max_epochs})
    longer = more_epochs(settings, recorded, overrides)
    resumed = recorded.model_copy(update=same | ({"trainer": trainer} if longer else {}))
    if (folder / RESULTS).exists():
        if goes_on(resumed, folder, longer=longer, may_stay=settings.resume == "auto" or sweep, quiet=sweep):
            return resumed
        return None
    single = recorded.seeds is None and recorded.folds is None
    if not last.exists() and settings.resume is True and not sweep and single:
        raise SettingError(
            f"resume: {folder} has no checkpoints/last.ckpt, since its first epoch did not finish; use resume=auto to "
            "start it again"
        )
    return resumed


def more_epochs(settings: TrainSettings, recorded: TrainSettings, overrides: Sequence[str]) -> bool:
    """Whether the command line requests more epochs than the run had planned; the default value does not."""
    requested = settings.trainer.max_epochs
    if requested <= recorded.trainer.max_epochs:
        return False
    named = any(override.lstrip("+").startswith("trainer.max_epochs=") for override in overrides)
    return named or requested != compose("train", TrainSettings, ["run=unused"]).trainer.max_epochs


def goes_on(resumed: TrainSettings, folder: Path, *, longer: bool, may_stay: bool, quiet: bool) -> bool:
    """Whether a finished run is trained further; print a line if it is left unchanged.

    Args:
        resumed: The settings for further training.
        folder: The folder of the run, or of the runs of several seeds or folds.
        longer: Whether more epochs are requested than were planned.
        may_stay: Whether the run may be left unchanged.
        quiet: Whether to omit the line.

    Raises:
        SettingError: The run has no checkpoint for further training, or there is nothing to do and not `may_stay`.
        DataError: results.json is corrupt.
    """
    ends = {place: read_end(place) for place in run_folders(resumed, folder)}
    limit = resumed.trainer.max_epochs
    behind = [place for place, end in ends.items() if end is None or not end.reached(limit)]
    if longer and behind and resumed.train:
        if lost := [place for place in behind if ends[place] and not (place / "checkpoints" / "last.ckpt").exists()]:
            raise SettingError(
                f"resume: {lost[0]} is finished and has no checkpoints/last.ckpt to resume from; use another folder "
                "for a new run"
            )
        return True
    early = not behind and all(end and end.stopped_early for end in ends.values())
    how = ", early stopping ended it" if early else ""
    if longer:
        how += ", more epochs would change nothing"
    if may_stay:
        if not quiet:
            print(f"already finished: {display_path(folder)}{how}")
        return False
    more = "another folder for a new run"
    if resumed.train and not early and not has_fixed_length(resumed):
        more = f"trainer.max_epochs=<more than {limit}> to train further"
    raise SettingError(f"resume: {folder} is finished{how}; use resume=auto to leave it unchanged, or {more}")


def refuse_folders_of_their_own(process: Process, overrides: Sequence[str]) -> None:
    """Raise SettingError if an external launcher started several processes without a common value of `run`."""
    named = [word for word in overrides if word.startswith("run=") and "${" not in word]
    if process.launcher and not named:
        raise SettingError(
            f"run: got no folder for {process.size} processes started by {process.launcher}, which need the same one; "
            "must be given, such as run=runs/mine"
        )


def check_seed_or_seeds(settings: TrainSettings, overrides: Sequence[str]) -> None:
    """Raise SettingError if the command line sets both `seed` and `seeds`."""
    if settings.seeds is not None and (single := [word for word in overrides if names_key(word, "seed")]):
        raise SettingError(f"seeds: got {settings.seeds} together with {single[0]}; must be one of the two")


def _gives(overrides: Sequence[str], key: str) -> bool:
    """Whether the command line sets a key."""
    return any(override.partition("=")[0].lstrip("+") == key for override in overrides)
