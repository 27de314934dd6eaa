"""Create a study in its database, or load it after checking that it is the same search."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from sqlalchemy import exc

from lenet_pl.errors import DataError, SettingError
from lenet_pl.search.space import Space
from lenet_pl.search.storage import LOCK, StudyStorage, reason
from lenet_pl.settings import setting_keys
from lenet_pl.settings.config_file import completed
from lenet_pl.settings.metric_mode import metric_mode
from lenet_pl.settings.renamed import upgraded_parameter
from lenet_pl.settings.roles import Role, selected, values_of
from lenet_pl.settings.search import SearchSettings

SETTINGS_ATTR = "begun with"  # user attribute of a study: the settings of the worker that created it
DATA = "data_digest"  # key of SETTINGS_ATTR
FOREIGN = "was not created by lenet_pl.search"
# Roles of the settings that all workers share; the others say where and how a trial runs
SAME = (Role.RECIPE, Role.EVALUATION, Role.SEED)


def open_study(
    settings: SearchSettings, storage: StudyStorage, space: Space, data_digest: str | None = None
) -> optuna.Study:
    """Create the study, or load it.

    Args:
        settings: The settings of the search.
        storage: The database that holds the study.
        space: The search space.
        data_digest: The digest of the images; None if their files are verified against published digests.

    Returns:
        The study, with its pruner.

    Raises:
        SettingError: A study of this name has another search space, other settings or other images.
        DataError: The database does not answer, or cannot be written.
    """
    given = settings.search
    plain = {key: value for key, value in values_of(settings, *SAME).items() if key != "search"}
    wanted = {"search.metric": given.metric, "search.space": space.describe(), DATA: data_digest, **plain}
    try:
        study = make_study(storage, given.study_name, f"{metric_mode(given.metric)}imize")
        with storage.study_lock(study):
            recorded = study.user_attrs.get(SETTINGS_ATTR)
            if recorded is None and study.get_trials(deepcopy=False):
                raise SettingError(f"search.study_name: {given.study_name} {FOREIGN}; choose another name")
            if recorded is None:
                study.set_user_attr(SETTINGS_ATTR, wanted)
        trials = len(study.get_trials(deepcopy=False))
    except (exc.SQLAlchemyError, StorageInternalError, OSError) as error:
        raise DataError(f"search.storage: {storage.place}: {reason(error)}") from None
    if recorded is not None:
        space.keep_names(recorded.get("search.space", {}))
        recorded = _with_new_names(recorded)
    if recorded is not None and data_digest is not None:
        check_same_data(given.study_name, recorded.get(DATA), data_digest)
    if recorded is not None and (key := _first_difference(recorded, wanted)):
        old, new = (_at(values, key) for values in (recorded, wanted))
        raise SettingError(
            f"search.study_name: {given.study_name} was created with {key}={old}, got {new}; use the same value, or "
            "another search.study_name"
        )
    check_trial_folders(Path(settings.run) / "trials", trials)
    study.pruner = build_pruner(settings)
    return study


def _with_new_names(recorded: dict[str, Any]) -> dict[str, Any]:
    """Translate the recorded settings of a study to the present names, and drop those that workers may differ in."""
    space = {}
    for key, words in recorded.get("search.space", {}).items():
        choices = {"choices": [upgraded_parameter(key, value)[1] for value in words.get("choices", ())]}
        space[upgraded_parameter(key)[0]] = words | (choices if "choices" in words else {})
    return selected(completed(recorded), SearchSettings, *SAME) | {"search.space": space}


def check_same_data(study: str, recorded: str | None, current: str) -> None:
    """Check that the images are those that the study was created with; print a note if that is unknown.

    Args:
        study: The name of the study.
        recorded: The digest of the images when the study was created; None if an earlier version did not record it.
        current: The digest of the images now.

    Raises:
        SettingError: The images differ.
    """
    if recorded is None:
        print(f"note: study {study} has no record of its images; whether they have changed is unknown")
    elif recorded != current:
        raise SettingError(
            f"data: the images have changed since search.study_name={study} was created; restore them, or use another "
            "run= and search.study_name="
        )


def make_study(storage: StudyStorage, name: str, direction: Any) -> optuna.Study:
    """Create a study with the row that workers lock, or load it."""
    study = optuna.create_study(storage=storage.backend, study_name=name, direction=direction, load_if_exists=True)
    if LOCK not in study.user_attrs:
        study.set_user_attr(LOCK, "")
    return study


def build_pruner(settings: SearchSettings) -> BasePruner:
    """Build the pruner; its steps are epochs, counted from 1."""
    given, epochs = settings.search.pruner, settings.trainer.max_epochs
    first = max(1, given.warmup_epochs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if given.name == "median":
            return MedianPruner(given.n_startup_trials, given.warmup_epochs)
        if given.name == "halving":
            return SuccessiveHalvingPruner(min_resource=first)
        if given.name == "hyperband":
            return HyperbandPruner(min_resource=first, max_resource=max(first, epochs))
    return NopPruner()


def check_trial_folders(folder: Path, trials: int) -> None:
    """Check that the folder contains no trials of another study.

    Args:
        folder: The folder `trials` of the run.
        trials: The number of trials in the study; they are numbered from 0.

    Raises:
        SettingError: The folder contains a trial with a higher number.
    """
    others = [path.name for path in folder.glob("*") if path.name.isdigit() and int(path.name) >= trials]
    if others:
        raise SettingError(
            f"run: {folder} contains trials of another study ({', '.join(sorted(others)[:3])}), this one has {trials}; "
            "use another run= or search.study_name="
        )


def _first_difference(recorded: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Find the first setting that differs, by its deepest key."""
    keys = dict.fromkeys([*setting_keys_of(recorded), *setting_keys_of(wanted)])
    different = [key for key in keys if key != DATA and _at(recorded, key) != _at(wanted, key)]
    return next((k for k in different if not any(o.startswith(f"{k}.") for o in different)), None)


def setting_keys_of(values: dict[str, Any]) -> list[str]:
    """List the dotted keys, with the search space and the metric first."""
    return sorted(setting_keys(values), key=lambda key: not key.startswith("search."))


def _at(values: Any, key: str) -> Any:
    """Look up a dotted key whose components may contain dots themselves; None if it is missing."""
    if not isinstance(values, dict):
        return None
    if key in values:
        return values[key]
    for name in values:
        if key.startswith(f"{name}."):
            return _at(values[name], key.removeprefix(f"{name}."))
    return None
