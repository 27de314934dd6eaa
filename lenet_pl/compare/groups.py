"""Groups of runs: statistics over the seeds, and the difference to the best group on the same dataset."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from lenet_pl.compare.datasets import tell_apart
from lenet_pl.compare.filter import matching_runs, unknown_key
from lenet_pl.compare.intervals import Difference, difference
from lenet_pl.compare.run import Run
from lenet_pl.compare.run_differences import differences
from lenet_pl.compare.run_index import RunIndex
from lenet_pl.compare.setting_values import MISSING, canonical, show_short
from lenet_pl.compare.significance import with_significance
from lenet_pl.compare.split_uses import SplitUses
from lenet_pl.errors import DataError, SettingError, did_you_mean
from lenet_pl.settings.metric_mode import metric_mode

VALIDATION = "best/val/accuracy"


@dataclass(eq=False)
class Group:
    """Runs that differ only in their seeds or folds.

    Attributes:
        values: The values of the keys by which runs are grouped.
        data: The name of the dataset.
        runs: The runs, which all have the metric.
        scores: The metric by seed, or by fold of a cross-validation. Runs of the same seed, or with several seeds on
            the same fold, are averaged, since they are not independent observations.
        best: Whether the group is the best on its dataset.
        difference_to_best: The difference to the best group; None for the best group itself.
    """

    values: tuple[Any, ...]
    data: str
    runs: list[Run]
    scores: dict[int | str, float]
    best: bool = False
    difference_to_best: Difference | None = None
    _found: dict[str, Any] = field(default_factory=dict)  # cache of statistics, which are slow for thousands of runs

    @cached_property
    def mean(self) -> float:
        """The mean of the metric over seeds."""
        return fmean(self.scores.values())

    @cached_property
    def sd(self) -> float | None:
        """The standard deviation (n - 1) of the metric over seeds; None for one seed."""
        return stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def label(self) -> str:
        """The values on one line, long lists shortened."""
        return ", ".join(show_short(value) for value in self.values)

    def metric(self, name: str) -> tuple[float, float | None] | None:
        """Return mean and standard deviation (n - 1; None for one seed) of a metric over the seeds that have it."""
        if name not in self._found:
            values = list(by_replicate(self.runs, name).values())
            self._found[name] = (fmean(values), stdev(values) if len(values) > 1 else None) if values else None
        figures: tuple[float, float | None] | None = self._found[name]
        return figures

    def average(self, key: str) -> float | None:
        """Return the mean of a number in results.json over the runs that have it."""
        if key not in self._found:
            values = [float(run.results[key]) for run in self.runs if run.results[key] is not None]
            self._found[key] = fmean(values) if values else None
        mean: float | None = self._found[key]
        return mean


@dataclass
class Comparison:
    """The result of a comparison.

    Attributes:
        by: The keys by which runs are grouped, including `data`.
        metric: The metric by which groups are ranked.
        groups: The groups by dataset, the best first.
        problems: The runs that are in no group, each with the reason.
        others: The number of results.json files of other tasks or programs.
        notes: Reasons for which a group's mean is questionable.
        uses: How often the test splits were used.
    """

    by: list[str]
    metric: str
    groups: list[Group]
    problems: list[Run]
    others: int
    notes: list[str] = field(default_factory=list)
    uses: list[SplitUses] = field(default_factory=list)

    @property
    def datasets(self) -> list[str]:
        """The names of the datasets, in the order of the groups."""
        return list(dict.fromkeys(group.data for group in self.groups))


def compare_runs(index: RunIndex, by: Sequence[str], metric: str, where: Mapping[str, Any]) -> Comparison:
    """Group runs, and compare the groups of each dataset.

    Args:
        index: The runs.
        by: The keys of results or settings by which to group. `data` is added, since scores on different datasets are
            never averaged. Datasets of the same name with different images are different datasets.
        metric: A key of `metrics` in the results.
        where: The required values by key.

    Raises:
        SettingError: No run has the key, the metric or the value.
        DataError: None of the runs is finished.
    """
    by = list(dict.fromkeys([*by, "data"]))
    runs = matching_runs(index.runs, where)
    finished = [run for run in runs if run.problem is None]
    problems = [run for run in runs if run.problem is not None]
    if not finished:
        raise DataError(f"runs: none of {len(runs)} is finished; the first is {runs[0].place}: {runs[0].problem}")
    finished, data_notes = tell_apart(finished)
    for key in by:
        if all(run.value(key) is MISSING for run in finished):
            raise SettingError(unknown_key("group_by", key, finished))
    metrics = sorted({name for run in finished for name in run.results["metrics"]})
    if metric not in metrics:
        near = did_you_mean(metric, metrics)
        raise SettingError(
            f"metric: no run has {metric}; {near + ' ' if near else ''}must be one of {', '.join(metrics) or 'none'}"
        )
    grouped: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in finished:
        if metric in run.results["metrics"]:
            grouped[tuple(canonical(run.value(key)) for key in by)].append(run)
        else:
            problems.append(Run(run.folder, problem=f"has no {metric}"))
    groups = [
        Group(tuple(some[0].value(key) for key in by), some[0].results["data"], some, by_replicate(some, metric))
        for some in grouped.values()
    ]
    sign = 1 if metric_mode(metric) == "min" else -1
    groups.sort(key=lambda group: (group.data, sign * group.mean, group.label))
    best: dict[str, Group] = {}
    for group in groups:
        first = best.setdefault(group.data, group)
        group.best = group is first
    for data, first in best.items():
        _compare_to_best(first, [group for group in groups if group.data == data and group is not first])
    notes = [f"{group.label}: {line}" for group in groups for line in differences(group.runs)] + _unequal_tests(groups)
    return Comparison(by, metric, groups, problems, index.skipped, data_notes + notes)


def _compare_to_best(best: Group, others: Sequence[Group]) -> None:
    """Compute the differences of a dataset's groups to the best one, all together, since p-values are corrected."""
    found = [difference(group.scores, best.scores) for group in others]
    in_folds = any(isinstance(replicate, str) for group in (best, *others) for replicate in group.scores)
    for group, one in zip(others, with_significance(found, plan=not in_folds), strict=True):
        group.difference_to_best = one


def by_replicate(runs: Iterable[Run], metric: str) -> dict[int | str, float]:
    """Compute the mean of a metric for each seed or fold; runs without the metric are skipped."""
    found: dict[int | str, list[float]] = defaultdict(list)
    for run in runs:
        if metric in run.results["metrics"]:
            found[run.replicate].append(run.results["metrics"][metric])
    return {replicate: fmean(values) for replicate, values in sorted(found.items(), key=_order)}


def _order(item: tuple[int | str, object]) -> tuple[bool, str, int | str]:
    """Sort seeds by number, then folds by name."""
    return isinstance(item[0], str), str(item[0]) if isinstance(item[0], str) else "", item[0]


def _unequal_tests(groups: list[Group]) -> list[str]:
    """List the datasets whose test split has different sizes. Folds count together, since they differ by an image."""
    sizes: dict[str, set[int]] = defaultdict(set)
    for group in groups:
        tested = [(run.replicate, run.results["images"].get("test", 0)) for run in group.runs]
        sizes[group.data] |= {images for replicate, images in tested if isinstance(replicate, int)}
        if folds := {replicate: images for replicate, images in tested if isinstance(replicate, str)}:
            sizes[group.data].add(sum(folds.values()))
    return [
        f"{data}: tested on different numbers of images: {', '.join(map(str, sorted(some)))}"
        for data, some in sizes.items()
        if len(some) > 1
    ]
