"""Continue a run in its folder: with the settings that it was begun with, and no others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.composition import compose
from lenet_pl.errors import DataError, SettingError, from_here
from lenet_pl.ownership import refuse_running, refuse_used_folder
from lenet_pl.processes import Process, this_process
from lenet_pl.results_file import RESULTS, read_end
from lenet_pl.settings import TrainSettings, validate
from lenet_pl.settings.recorded import NOT_OWN, completed, read_settings
from lenet_pl.slurm import restarted

ABSENT = object()
NOT_OF_THE_RUN = {"run", "resume", "traceback", "vectorise"}  # the command's own
NO_MATTER = {
    "data_root",
    "data.root",
    "data.accept_changes",
    "callbacks.progress_bar",
    "callbacks.model_summary",
}  # change no figure
OF_ONE_LENGTH = ("cosine", "onecycle")  # schedulers made for a number of epochs


def begin_or_resume(
    settings: TrainSettings, folder: Path, overrides: Sequence[str], sweep: bool
) -> TrainSettings | None:
    """Say with which settings to train in a folder: those given for a new run, or those of the run that is there.

    A finished run goes on if more epochs are asked for and early stopping has not ended it. Otherwise it is left as it
    is, but only for those who asked for that with resume=auto or go on with a sweep.

    Args:
        settings: of the command.
        folder: the run folder, which exists.
        overrides: what the command line says.
        sweep: whether this is one of many jobs, of which some may not have begun.

    Returns:
        None if the run is finished and left alone.

    Raises:
        SettingError: the folder is in use, there is nothing to resume, or a setting is not that of the run.
        DataError: the folder's config.yaml or results.json is damaged or another program's.
    """
    process = this_process(settings.trainer.devices)
    if not sweep:
        refuse_folders_of_their_own(process, overrides)
    refuse_seed_beside_seeds(settings, overrides)
    if restarted(folder) and not settings.resume:  # by a cluster; what is in the folder is this job's own
        settings = settings.model_copy(update={"resume": "auto"})
    accept = getattr(settings.data, "accept_changes", None)  # None: the set cannot change
    if not settings.resume:
        if accept:
            raise SettingError(
                "data.accept_changes: got true, and a new run takes the data as they are; accepted is false, or "
                "resume=true to go on with a run"
            )
        refuse_used_folder(folder, process)
        return settings
    refuse_running(folder, process)
    begun, last = (folder / "config.yaml").exists(), folder / "checkpoints" / "last.ckpt"
    if not begun and settings.resume is True and not sweep:
        raise SettingError(f"resume: {folder} holds no run; accepted is the folder of one, or resume=auto to begin it")
    if not begun:
        refuse_used_folder(folder, process)
        return settings
    recorded = recorded_settings(folder, settings)
    refuse_changes(settings, recorded, overrides, known_images=(folder / "data.json").exists())
    if accept is not None and settings.data.name == recorded.data.name:
        keys = [key for key in ("path", "test_path", "accept_changes") if _gives(overrides, f"data.{key}")]
        where = {key: getattr(settings.data, key) for key in keys}
        recorded = recorded.model_copy(update={"data": recorded.data.model_copy(update=where)})
    same = {name: getattr(settings, name) for name in (*NOT_OF_THE_RUN, "data_root")}
    trainer = recorded.trainer.model_copy(update={"max_epochs": settings.trainer.max_epochs})
    longer = more_epochs(settings, recorded, overrides)
    resumed = recorded.model_copy(update=same | ({"trainer": trainer} if longer else {}))
    if (folder / RESULTS).exists():
        if goes_on(resumed, folder, longer=longer, may_stay=settings.resume == "auto" or sweep, quiet=sweep):
            return resumed
        return None
    if not last.exists() and settings.resume is True and not sweep and recorded.seeds is None:
        raise SettingError(
            f"resume: {folder} has no checkpoints/last.ckpt, its first epoch did not end; accepted is resume=auto to "
            "begin it again"
        )
    return resumed


def more_epochs(settings: TrainSettings, recorded: TrainSettings, overrides: Sequence[str]) -> bool:
    """Say whether the command line asks for more epochs than the run was to have; a default does not."""
    asked = settings.trainer.max_epochs
    if asked <= recorded.trainer.max_epochs:
        return False
    named = any(override.lstrip("+").startswith("trainer.max_epochs=") for override in overrides)
    return named or asked != compose("train", TrainSettings, ["run=unused"]).trainer.max_epochs


def goes_on(resumed: TrainSettings, folder: Path, *, longer: bool, may_stay: bool, quiet: bool) -> bool:
    """Say whether a finished run is trained further; print or refuse, if it is not.

    Args:
        resumed: settings that it would have.
        folder: of the run, or of the runs of several seeds.
        longer: whether more epochs are asked for than it was to have.
        may_stay: whether it may be left as it is.
        quiet: print nothing where it is.

    Raises:
        SettingError: it is to go on and cannot, or is not and may not be left.
        DataError: results.json is damaged.
    """
    places = [folder] if resumed.seeds is None else [folder / f"seed_{seed}" for seed in resumed.seeds]
    ends = {place: read_end(place) for place in places}
    limit = resumed.trainer.max_epochs
    behind = [place for place, end in ends.items() if end is None or not end.reached(limit)]
    if longer and behind and resumed.train:
        if lost := [place for place in behind if ends[place] and not (place / "checkpoints" / "last.ckpt").exists()]:
            raise SettingError(
                f"resume: {lost[0]} is finished and has no checkpoints/last.ckpt to go on from; accepted is another "
                "folder for a new run"
            )
        return True
    early = not behind and all(end and end.stopped_early for end in ends.values())
    how = ", early stopping ended it" if early else ""
    if longer:
        how += ", more epochs would change nothing"
    if may_stay:
        if not quiet:
            print(f"finished already: {from_here(folder)}{how}")
        return False
    more = "another folder for a new run"
    if resumed.train and not early and resumed.scheduler.name not in OF_ONE_LENGTH:
        more = f"trainer.max_epochs=<more than {limit}> to train further"
    raise SettingError(f"resume: {folder} is finished{how}; accepted is resume=auto to leave it as it is, or {more}")


def refuse_folders_of_their_own(process: Process, overrides: Sequence[str]) -> None:
    """Raise SettingError for processes of one run that would each name their folder after the moment they start at."""
    named = [word for word in overrides if word.startswith("run=") and "${" not in word]
    if process.launcher and not named:
        raise SettingError(
            f"run: {process.size} processes that {process.launcher} has started need one folder; must be named, as in "
            "run=runs/mine"
        )


def refuse_seed_beside_seeds(settings: TrainSettings, overrides: Sequence[str]) -> None:
    """Raise SettingError if the command line asks for one seed and for several."""
    if settings.seeds is not None and (beside := [word for word in overrides if _names(word, "seed")]):
        raise SettingError(f"seeds: got {settings.seeds} beside {beside[0]}; accepted is one of the two")


def recorded_settings(folder: Path, settings: TrainSettings) -> TrainSettings:
    """Read and check the settings of the run in a folder.

    Raises:
        DataError: config.yaml is damaged, another program's or of another version.
    """
    own = {name: getattr(settings, name) for name in NOT_OF_THE_RUN}
    try:
        return validate(TrainSettings, completed(read_settings(folder)) | own)
    except (DataError, SettingError) as error:
        known = "" if str(error) == NOT_OWN else " of this version"
        raise DataError(f"resume: {folder}: {error}; accepted is a run of lenet_pl.train{known}") from None


def refuse_changes(
    settings: TrainSettings, recorded: TrainSettings, overrides: Sequence[str], *, known_images: bool = False
) -> None:
    """Raise SettingError for a setting that the command line asks for and the run does not have.

    More epochs may be asked for, unless the learning rate was planned for a number of them.
    """
    # Where the images are does not matter either, if the run knows them by their contents
    no_matter = NO_MATTER | ({"data.accept_changes", "data.path", "data.test_path"} if known_images else set())
    given, there = _leaves(settings.model_dump()), _leaves(recorded.model_dump())
    defaults = _leaves(compose("train", TrainSettings, ["run=unused"]).model_dump())
    for key in sorted(given.keys() | there.keys()):
        asked = given.get(key, ABSENT) != defaults.get(key, ABSENT) or any(_names(word, key) for word in overrides)
        came, has = given.get(key, ABSENT), there.get(key, ABSENT)
        if not asked or came == has or key.partition(".")[0] in NOT_OF_THE_RUN or key in no_matter:
            continue
        if key == "trainer.max_epochs" and came > has and recorded.scheduler.name not in OF_ONE_LENGTH:
            continue
        planned = key == "trainer.max_epochs" and came > has
        why = f"; scheduler={recorded.scheduler.name} was planned for that many" if planned else ""
        raise SettingError(
            f"resume: {key}={_show(came)} is asked for and the run has {_show(has)}{why}; accepted is the run's own, "
            "or another folder for a new run"
        )


def _gives(overrides: Sequence[str], key: str) -> bool:
    """Whether the command line gives a key a value."""
    return any(override.partition("=")[0].lstrip("+") == key for override in overrides)


def _names(override: str, key: str) -> bool:
    """Whether an override sets a key, by its name or that of a group above it."""
    name = override.partition("=")[0].lstrip("+~")
    return key == name or key.startswith(f"{name}.")


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _show(value: Any) -> str:
    return "no such setting" if value is ABSENT else str(value)
