"""Runs in groups, the statistics of each group over its seeds, and how far it is from the best on the same data."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from lenet_pl.comparison.data_sets import tell_apart
from lenet_pl.comparison.intervals import Difference, difference
from lenet_pl.comparison.run_differences import differences
from lenet_pl.comparison.run_index import Run, RunIndex
from lenet_pl.comparison.setting_values import MISSING, canonical, dotted, show
from lenet_pl.errors import DataError, SettingError, did_you_mean
from lenet_pl.metric_mode import metric_mode
from lenet_pl.settings import nearest_key

VALIDATION = "best/val/accuracy"


@dataclass(eq=False)
class Group:
    """Runs that differ in their seeds.

    Attributes:
        values: of the keys that make the groups.
        data: the data set.
        runs: all of them have the metric.
        scores: seed → metric; several runs of a seed are averaged, as they are no independent observations.
        best: the first of its data set.
        to_best: difference to the best; None for the best itself.
    """

    values: tuple[Any, ...]
    data: str
    runs: list[Run]
    scores: dict[int, float]
    best: bool = False
    to_best: Difference | None = None
    _found: dict[str, Any] = field(default_factory=dict)  # figures that were asked for: of thousands of runs, slow

    @cached_property
    def mean(self) -> float:
        """Of the metric over seeds."""
        return fmean(self.scores.values())

    @cached_property
    def sd(self) -> float | None:
        """Standard deviation (n-1) of the metric over seeds; None for one seed."""
        return stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def label(self) -> str:
        """The values in one line."""
        return ", ".join(show(value) for value in self.values)

    def metric(self, name: str) -> tuple[float, float | None] | None:
        """Mean and standard deviation (n-1; None for one seed) of a metric over the seeds that have it."""
        if name not in self._found:
            values = list(by_seed(self.runs, name).values())
            self._found[name] = (fmean(values), stdev(values) if len(values) > 1 else None) if values else None
        figures: tuple[float, float | None] | None = self._found[name]
        return figures

    def average(self, key: str) -> float | None:
        """Mean of a figure of results.json over the runs that have it."""
        if key not in self._found:
            values = [float(run.results[key]) for run in self.runs if run.results[key] is not None]
            self._found[key] = fmean(values) if values else None
        mean: float | None = self._found[key]
        return mean


@dataclass
class Comparison:
    """What a comparison found.

    Attributes:
        by: keys that make the groups; `data` is always one of them.
        metric: that ranks.
        groups: sorted by data set, the best first.
        problems: runs that are in no group, each with its reason.
        others: results.json of other tasks or programs.
        notes: what makes a group's mean questionable.
    """

    by: list[str]
    metric: str
    groups: list[Group]
    problems: list[Run]
    others: int
    notes: list[str] = field(default_factory=list)

    @property
    def data_sets(self) -> list[str]:
        """In the order of the groups."""
        return list(dict.fromkeys(group.data for group in self.groups))


def compare_runs(index: RunIndex, by: Sequence[str], metric: str, where: Mapping[str, Any]) -> Comparison:
    """Group runs and compare the groups of each data set.

    Args:
        index: the runs.
        by: keys of the results or settings; `data` is added, as scores on different data are never averaged; sets of
            one name with different images are different data.
        metric: key of `metrics` in the results.
        where: values that keys must have.

    Raises:
        SettingError: no run has the key, the metric or the value.
        DataError: no run is left to compare.
    """
    by = list(dict.fromkeys([*by, "data"]))
    runs = _matching(index.runs, where)
    finished = [run for run in runs if run.problem is None]
    problems = [run for run in runs if run.problem is not None]
    if not finished:
        raise DataError(f"runs: none of {len(runs)} is finished; the first is {runs[0].place}: {runs[0].problem}")
    finished, of_data = tell_apart(finished)
    for key in by:
        if all(run.value(key) is MISSING for run in finished):
            raise SettingError(_unknown("by", key, finished))
    metrics = sorted({name for run in finished for name in run.results["metrics"]})
    if metric not in metrics:
        near = did_you_mean(metric, metrics)
        raise SettingError(
            f"metric: no run has {metric}; {near + ' ' if near else ''}found are {', '.join(metrics) or 'none'}"
        )
    together: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in finished:
        if metric in run.results["metrics"]:
            together[tuple(canonical(run.value(key)) for key in by)].append(run)
        else:
            problems.append(Run(run.folder, problem=f"has no {metric}"))
    groups = [
        Group(tuple(some[0].value(key) for key in by), some[0].results["data"], some, by_seed(some, metric))
        for some in together.values()
    ]
    sign = 1 if metric_mode(metric) == "min" else -1
    groups.sort(key=lambda group: (group.data, sign * group.mean, group.label))
    best: dict[str, Group] = {}
    for group in groups:
        first = best.setdefault(group.data, group)
        group.best = group is first
        group.to_best = None if group.best else difference(group.scores, first.scores)
    notes = [f"{group.label}: {line}" for group in groups for line in differences(group.runs)] + _unequal_tests(groups)
    return Comparison(by, metric, groups, problems, index.passed_over, of_data + notes)


def parse_where(where: Mapping[str, Any] | Sequence[str] | str | None) -> dict[str, Any]:
    """Turn the setting `where` into key → value.

    Raises:
        SettingError: an item is not key=value.
    """
    if isinstance(where, Mapping):
        return {key: value for key, value in dotted(dict(where)).items() if not isinstance(value, dict)}
    wanted: dict[str, Any] = {}
    for item in where.strip("[]").split(",") if isinstance(where, str) else where or ():
        key, equals, text = (part.strip() for part in item.partition("="))
        if not key or not equals:
            raise SettingError(f"where: got {item!r}; accepted is {{key:value}} or 'key=value'")
        try:
            wanted[key] = json.loads(text)
        except ValueError:
            wanted[key] = text
    return wanted


def by_seed(runs: Iterable[Run], metric: str) -> dict[int, float]:
    """Map each seed to the mean of its runs' metric; runs without the metric are left out."""
    found: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        if metric in run.results["metrics"]:
            found[run.results["seed"]].append(run.results["metrics"][metric])
    return {seed: fmean(values) for seed, values in sorted(found.items())}


def _matching(runs: list[Run], where: Mapping[str, Any]) -> list[Run]:
    """Keep the runs that have all values, and those whose values cannot be read."""
    for key, value in where.items():
        if all(run.value(key) is MISSING for run in runs):
            raise SettingError(_unknown("where", key, runs))
        there = {canonical(run.value(key)): show(run.value(key)) for run in runs if run.value(key) is not MISSING}
        if canonical(value) not in there:
            near = did_you_mean(show(value), there.values())
            some = ", ".join(sorted(there.values())[:20])
            raise SettingError(f"where: no run has {key}={show(value)}; {near + ' ' if near else ''}found are {some}")
        unread = [run for run in runs if run.problem and run.value(key) is MISSING]
        runs = [run for run in runs if run in unread or canonical(run.value(key)) == canonical(value)]
    return runs


def _unknown(setting: str, key: str, runs: list[Run]) -> str:
    keys = sorted(set().union(*(run.keys() for run in runs)))
    if inside := [known for known in keys if known.startswith(f"{key}.")]:
        return f"{setting}: {key} is a group of settings; accepted is one of them, as in {inside[0]}"
    near = nearest_key(key, keys) or "accepted are keys of results.json and settings, such as optimizer.lr"
    return f"{setting}: no run has {key}; {near}"


def _unequal_tests(groups: list[Group]) -> list[str]:
    """Say for which data sets the test part was not always the same size."""
    sizes: dict[str, set[int]] = defaultdict(set)
    for group in groups:
        sizes[group.data] |= {run.results["images"].get("test", 0) for run in group.runs}
    return [
        f"{data}: tested on different numbers of images, {', '.join(map(str, sorted(some)))}"
        for data, some in sizes.items()
        if len(some) > 1
    ]
