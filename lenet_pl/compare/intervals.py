"""Confidence intervals (95%, Student's t) for the difference of two means over a few seeds.

The bootstrap is not used: three seeds have only ten different resamples, and for small samples its percentile intervals
are less accurate than those of t (Hesterberg, "What Teachers Should Know About the Bootstrap", The American
Statistician 69, 2015). For three normal values they cover 75%, those of t 95%.

Runs are paired by seed, since runs of the same seed share the order of batches and the augmentation. If that has no
effect, pairing widens the interval a little and stays valid.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance
from typing import Any

from scipy.special import stdtrit  # quantile of t; importing scipy.stats takes another second

LEVEL = 0.95
MIN_PAIRS = 3  # common seeds; for two, the quantile of t is 12.7
TINY = 1e-9  # standard errors below the precision of results.json count as zero


@dataclass(frozen=True)
class Difference:
    """A difference of two means with its 95% confidence interval."""

    mean: float
    low: float | None  # None without an interval
    high: float | None
    method: str  # "paired, 3 seeds", "Welch", or the reason why there is no interval


def difference(first: Mapping[Any, float], second: Mapping[Any, float]) -> Difference:
    """Compute the mean of `first` minus the mean of `second`, both given by seed or fold.

    Paired over the common seeds if there are at least three, otherwise with Welch's interval over all seeds.
    """
    common = [one for one in first if one in second]
    if len(common) >= MIN_PAIRS:
        return paired([first[one] - second[one] for one in common])
    return welch(list(first.values()), list(second.values()))


def paired(differences: Sequence[float]) -> Difference:
    """Compute the t interval for the mean of n >= 2 differences."""
    count, mean = len(differences), fmean(differences)
    return _interval(mean, stdev(differences) / math.sqrt(count), count - 1, f"paired, {count} seeds")


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compute Welch's t interval for the difference of two means with possibly unequal variances."""
    mean = fmean(first) - fmean(second)
    if min(len(first), len(second)) < 2:
        return Difference(mean, None, None, "n too small")
    a, b = variance(first) / len(first), variance(second) / len(second)
    if a + b == 0:
        return Difference(mean, None, None, "no spread")
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    return _interval(mean, math.sqrt(a + b), freedom, "Welch")


def _interval(mean: float, error: float, freedom: float, method: str) -> Difference:
    if error < TINY:  # an interval of width zero would claim certainty
        return Difference(mean, None, None, "no spread")
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return Difference(mean, mean - half, mean + half, method)
