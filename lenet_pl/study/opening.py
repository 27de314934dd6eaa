"""A study in its database: made by the first worker, found again by all others, refused to those who want another."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from sqlalchemy import exc

from lenet_pl.errors import DataError, SettingError
from lenet_pl.metric_mode import metric_mode
from lenet_pl.settings import setting_keys
from lenet_pl.settings.search import SearchSettings
from lenet_pl.study.space import Space
from lenet_pl.study.storage import LOCK, StudyStorage, reason

BEGUN_WITH = "begun with"  # attribute of a study
DATA = "data_digest"  # among what it was begun with
FOREIGN = "was not begun by lenet_pl.search"
# What may differ between workers: it says where and how a training runs, not what comes out
OF_THE_MACHINE: dict[str, Any] = {
    "data": {"root", "download", "accept_changes"},
    "trainer": {"accelerator", "devices", "strategy", "threads", "precision", "compile", "profiler"},
    "callbacks": {"progress_bar", "model_summary"},
    **dict.fromkeys(("run", "traceback", "data_root", "logger", "test", "train", "resume"), True),
}


def open_study(
    settings: SearchSettings, storage: StudyStorage, space: Space, data_digest: str | None = None
) -> optuna.Study:
    """Make or find the study.

    Args:
        settings: of the search.
        storage: where it is kept.
        space: what is varied.
        data_digest: of the images; None: their files are verified against published digests.

    Raises:
        SettingError: a study of this name searches something else, or was begun on other images.
        DataError: the database does not answer, or cannot be written.
    """
    given = settings.search
    plain = settings.model_copy(update={"search": None}).model_dump(exclude=OF_THE_MACHINE | {"search": True})
    wanted = {"search.metric": given.metric, "search.space": space.describe(), DATA: data_digest, **plain}
    try:
        study = make_study(storage, given.study, f"{metric_mode(given.metric)}imize")
        with storage.exclusive(study._study_id):
            begun = study.user_attrs.get(BEGUN_WITH)
            if begun is None and study.get_trials(deepcopy=False):
                raise SettingError(f"search.study: {given.study} {FOREIGN}; accepted is another name")
            if begun is None:
                study.set_user_attr(BEGUN_WITH, wanted)
    except (exc.SQLAlchemyError, StorageInternalError, OSError) as error:
        raise DataError(f"search.storage: {storage.place}: {reason(error)}") from None
    if begun is not None and data_digest is not None:
        refuse_other_data(given.study, begun.get(DATA), data_digest)
    if begun is not None and (key := _first_difference(begun, wanted)):
        old, new = (_at(values, key) for values in (begun, wanted))
        raise SettingError(
            f"search.study: {given.study} was begun with {key}={old}, now it is {new}; "
            "accepted is the same, or another search.study"
        )
    refuse_other_trials(Path(settings.run) / "trials", len(study.get_trials(deepcopy=False)))
    study.pruner = build_pruner(settings)
    return study


def refuse_other_data(study: str, begun: str | None, now: str) -> None:
    """Raise SettingError if a study was begun on other images; say so if that cannot be told.

    Args:
        study: its name.
        begun: digest of the images that it was begun on; None: an earlier version did not record it.
        now: digest of the images as they are.
    """
    if begun is None:
        print(f"note: study {study} does not say which images it was begun on; whether they have changed is not known")
    elif begun != now:
        raise SettingError(
            f"data: the images are others than when search.study={study} was begun; accepted is the set as it was, or "
            "another run= and search.study="
        )


def make_study(storage: StudyStorage, name: str, direction: Any) -> optuna.Study:
    """Make a study with the row that workers lock, or find it."""
    study = optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
    if LOCK not in study.user_attrs:
        study.set_user_attr(LOCK, "")
    return study


def build_pruner(settings: SearchSettings) -> BasePruner:
    """Build who ends trials; a step is an epoch, counted from 1."""
    given, epochs = settings.search.pruner, settings.trainer.max_epochs
    first = max(1, given.warmup_epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if given.name == "median":
            return MedianPruner(given.startup_trials, given.warmup_epochs)
        if given.name == "halving":
            return SuccessiveHalvingPruner(min_resource=first)
        if given.name == "hyperband":
            return HyperbandPruner(min_resource=first, max_resource=max(first, epochs))
    return NopPruner()


def refuse_other_trials(folder: Path, trials: int) -> None:
    """Raise SettingError if the folder holds trials that the study does not know.

    Args:
        folder: of the trials.
        trials: that the study has, which are numbered from 0.
    """
    others = [path.name for path in folder.glob("*") if path.name.isdigit() and int(path.name) >= trials]
    if others:
        raise SettingError(
            f"run: {folder} holds trials of another study ({', '.join(sorted(others)[:3])}), this one has {trials}; "
            "accepted is another run= or search.study="
        )


def _first_difference(begun: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Name the first setting that differs; the deepest key that says it."""
    keys = dict.fromkeys([*setting_keys_of(begun), *setting_keys_of(wanted)])
    different = [key for key in keys if key != DATA and _at(begun, key) != _at(wanted, key)]
    return next((k for k in different if not any(o.startswith(f"{k}.") for o in different)), None)


def setting_keys_of(values: dict[str, Any]) -> list[str]:
    """List dotted keys, the space and the metric first."""
    return sorted(setting_keys(values), key=lambda key: not key.startswith("search."))


def _at(values: Any, key: str) -> Any:
    """Look up a dotted key whose parts may hold dots themselves; None where there is nothing."""
    if not isinstance(values, dict):
        return None
    if key in values:
        return values[key]
    for name in values:
        if key.startswith(f"{name}."):
            return _at(values[name], key.removeprefix(f"{name}."))
    return None
