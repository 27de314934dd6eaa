"""The recorded settings of a run, and the settings of the command line that contradict them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_pl.errors import DataError, SettingError
from lenet_pl.plugins.build import loaded
from lenet_pl.plugins.loading import how_to_load, missing_plugins
from lenet_pl.plugins.parameters import signature_of
from lenet_pl.settings import TrainSettings, validate
from lenet_pl.settings.compose import compose
from lenet_pl.settings.config_file import NOT_OWN, completed, read_settings
from lenet_pl.settings.roles import Role, keys_of

ABSENT = object()
NOT_OF_THE_RUN = {key for key in keys_of(TrainSettings, Role.COMMAND) if "." not in key}
NO_MATTER = keys_of(TrainSettings, Role.COMMAND, Role.LOCATION, Role.COSMETIC)  # without effect on results


def recorded_settings(folder: Path, settings: TrainSettings) -> TrainSettings:
    """Read and validate the settings of the run in a folder.

    Args:
        folder: The run folder.
        settings: The settings of the command, which provide `run`, `resume` and `traceback`.

    Raises:
        DataError: config.yaml is corrupt, or was written by another program or version.
    """
    own = {name: getattr(settings, name) for name in NOT_OF_THE_RUN}
    values: dict[str, Any] = {}
    try:
        values = completed(read_settings(folder))
        return validate(TrainSettings, values | own)
    except (DataError, SettingError) as error:
        if plugins := missing_plugins(values.get("plugins")):
            raise DataError(f"resume: {folder}: {how_to_load(plugins)}") from None
        known = "" if str(error) == NOT_OWN else " of this version"
        raise DataError(f"resume: {folder}: {error}; must be a run of lenet_pl.train{known}") from None


def refuse_changes(
    settings: TrainSettings, recorded: TrainSettings, overrides: Sequence[str], *, known_images: bool = False
) -> None:
    """Raise SettingError if the command line changes a setting of the run.

    Exceptions are settings without effect on results, and a larger `trainer.max_epochs`, unless the learning-rate
    schedule depends on it.

    Args:
        settings: The settings of the command.
        recorded: The settings of the run.
        overrides: The overrides of the command line.
        known_images: Whether the run has a record of its images.
    """
    # With a record of the images, their location does not matter either
    no_matter = NO_MATTER | ({"data.path", "data.test_path"} if known_images else set())
    if settings.teacher is not None and recorded.teacher_sha256:  # with the digests, the places do not matter either
        no_matter |= {"teacher"}
    given, there = _leaves(settings.model_dump()), _leaves(recorded.model_dump())
    defaults = _leaves(compose("train", TrainSettings, ["run=unused"]).model_dump())
    for key in sorted(given.keys() | there.keys()):
        requested = given.get(key, ABSENT) != defaults.get(key, ABSENT) or any(
            names_key(word, key) for word in overrides
        )
        came, has = given.get(key, ABSENT), there.get(key, ABSENT)
        if not requested or came == has or key in no_matter:
            continue
        if key == "trainer.max_epochs" and came > has and not has_fixed_length(recorded):
            continue
        planned = key == "trainer.max_epochs" and came > has
        plan = f"scheduler={recorded.scheduler.name}"
        if isinstance(recorded.callbacks.swa.start, float):
            plan = f"callbacks.swa.start={recorded.callbacks.swa.start}"
        why = f", for which {plan} was planned" if planned else ""
        growing = key == "trainer.max_epochs" and not has_fixed_length(recorded)
        must = f"must be {has} or more" if growing else "must be unchanged"
        raise SettingError(
            f"resume: got {key}={_show(came)}, but the run has {_show(has)}{why}; {must}, or use another folder for a "
            "new run"
        )


def has_fixed_length(settings: TrainSettings) -> bool:
    """Whether schedule or average were made for the length of the training, as one-cycle is."""
    fraction = isinstance(settings.callbacks.swa.start, float)
    return fraction or "steps" in signature_of(loaded("scheduler", settings.scheduler))


def names_key(override: str, key: str) -> bool:
    """Whether an override sets or removes a key, or a group that contains it."""
    name = override.partition("=")[0].lstrip("+~")
    return key == name or key.startswith(f"{name}.")


def _leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _show(value: Any) -> str:
    return "no such setting" if value is ABSENT else "null" if value is None else str(value)
