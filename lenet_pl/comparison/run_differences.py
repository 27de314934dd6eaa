"""What keeps runs from being repetitions of each other, so that nobody averages apples with pears."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from lenet_pl.comparison.run_index import Run
from lenet_pl.comparison.setting_values import LONGEST, MISSING, canonical, dotted, show
from lenet_pl.text import shorten

# Where a run lay and how errors were shown change no figure.
NO_MATTER = {"seed", "run", "traceback", "data_root", "data.root", "data.accept_changes"}
SURROUNDINGS = ("git_commit", "device", "threads", "versions.torch", "images.test")


def differences(runs: list[Run]) -> list[str]:
    """Say what differs between the runs of a group beside what should, one line for each kind."""
    if len(runs) < 2:
        return []
    lines = []
    if again := {seed: n for seed, n in Counter(run.results["seed"] for run in runs).items() if n > 1}:
        times = ", ".join(f"seed {seed} {n} times" for seed, n in sorted(again.items()))
        lines.append(f"repeated seeds, averaged before the mean: {times}")
    if missing := sum(not run.settings for run in runs):
        lines.append(f"config.yaml of {missing} of {len(runs)} runs is absent or damaged; settings not compared")
    if differing := _differing(runs):
        lines.append("settings differ: " + "; ".join(f"{key} {values}" for key, values in sorted(differing.items())))
    surroundings = {key: _several(run.value(key) for run in runs) for key in SURROUNDINGS}
    lines += [f"{key} differs: {values}" for key, values in surroundings.items() if values]
    return lines


def _differing(runs: list[Run]) -> dict[str, str]:
    """List the settings that differ, with their values."""
    settings = [run.settings for run in runs if run.settings]
    differing: dict[str, str] = {}
    for name in sorted({key for values in settings for key in values} - NO_MATTER):
        parts = {id(part): part for part in (values.get(name, MISSING) for values in settings)}
        if len(parts) == 1:  # the same text was parsed once
            continue
        flat = [dotted({name: part}) for part in parts.values()]
        for key in {key for values in flat for key in values} - NO_MATTER:
            leaves = [values.get(key, MISSING) for values in flat]
            if not any(isinstance(leaf, dict) for leaf in leaves) and (values := _several(leaves)):
                differing[key] = values
    return differing


def _several(values: Iterable[Any]) -> str:
    """List different values, at most five and both ends of long ones; empty if all are the same."""
    different = [shorten(text, LONGEST) for text in {canonical(value): show(value) for value in values}.values()]
    more = f" and {len(different) - 5} more" if len(different) > 5 else ""
    return f"({', '.join(sorted(different)[:5])}{more})" if len(different) > 1 else ""
