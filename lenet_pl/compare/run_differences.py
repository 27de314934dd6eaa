"""Differences between the runs of a group, so that only true replicates are averaged."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lenet_pl.compare.run import Run
from lenet_pl.compare.setting_values import LONGEST, MISSING, canonical, dotted, show
from lenet_pl.display.text import shorten
from lenet_pl.settings import TrainSettings
from lenet_pl.settings.roles import NO_EFFECT, Role, keys_of

NO_MATTER = keys_of(TrainSettings, Role.SEED, *NO_EFFECT)  # settings in which repetitions of a recipe may differ
FOLDS = "the folds share training images, so their spread and intervals understate the uncertainty"
MIXED = "runs on folds of a cross-validation are mixed with others; use group_by=[model,data.split.fold.of] or filter"
ENVIRONMENT_KEYS = ("git_commit", "device", "threads", "versions.torch", "images.test")


def differences(runs: list[Run]) -> list[str]:
    """List the unexpected differences between the runs of a group, one line per kind."""
    if len(runs) < 2:
        return []
    lines = []
    if repeated := {one: n for one, n in Counter(run.replicate for run in runs).items() if n > 1}:
        named = [(f"seed {one}" if isinstance(one, int) else one, n) for one, n in repeated.items()]
        times = ", ".join(f"{name} {n} times" for name, n in sorted(named))
        lines.append(
            f"repeated {'seeds' if isinstance(next(iter(repeated)), int) else 'folds'}, averaged first: {times}"
        )
    in_folds = {isinstance(run.replicate, str) for run in runs}
    if True in in_folds:
        lines.append(MIXED if False in in_folds else FOLDS)
    if missing := sum(not run.settings for run in runs):
        lines.append(
            f"config.yaml of {missing} of {len(runs)} runs is missing or corrupt; their settings are not compared"
        )
    if differing := _differing(runs):
        lines.append("settings differ: " + "; ".join(f"{key} {values}" for key, values in sorted(differing.items())))
    keys = [key for key in ENVIRONMENT_KEYS if key != "images.test" or True not in in_folds]
    environment = {key: _several(run.value(key) for run in runs) for key in keys}
    lines += [f"{key} differs: {values}" for key, values in environment.items() if values]
    return lines


def _differing(runs: list[Run]) -> dict[str, str]:
    """Map the settings that differ to their values."""
    settings = [run.settings for run in runs if run.settings]
    differing: dict[str, str] = {}
    for name in sorted({key for values in settings for key in values} - NO_MATTER):
        sections = {id(section): section for section in (values.get(name, MISSING) for values in settings)}
        if len(sections) == 1:  # equal sections of config.yaml are parsed once, into the same object
            continue
        flat = [dotted({name: section}) for section in sections.values()]
        for key in {key for values in flat for key in values} - NO_MATTER:
            leaves = [values.get(key, MISSING) for values in flat]
            if not any(isinstance(leaf, dict) for leaf in leaves) and (values := _several(leaves)):
                differing[key] = values
    return differing


def _several(values: Iterable[Any]) -> str:
    """Format up to five different values, long ones shortened; empty if all values are equal."""
    different = [shorten(text, LONGEST) for text in {canonical(value): show(value) for value in values}.values()]
    more = f" and {len(different) - 5} more" if len(different) > 5 else ""
    return f"({', '.join(sorted(different)[:5])}{more})" if len(different) > 1 else ""
