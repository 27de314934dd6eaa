"""How sure is a difference of two means of a few seeds? 95% intervals from Student's t.

Not the bootstrap: three seeds have ten different resamples, and its percentile intervals are less accurate than t's for
small samples (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015); of
three normal values they cover 75%, t's 95%. Paired by seed, as both runs of a pair have the same order of batches and
the same augmentation; if that makes no difference, pairing costs a little width and stays valid.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance

from scipy.special import stdtrit  # the quantile of t; scipy.stats takes a second more

LEVEL = 0.95
MIN_PAIRS = 3  # common seeds; fewer leave a t of 12.7
TINY = 1e-9  # a standard error below what results.json resolves is none


@dataclass(frozen=True)
class Difference:
    """A difference of two means, and where the true one lies with 95% confidence."""

    mean: float
    low: float | None  # None: no interval
    high: float | None
    method: str  # "paired, 3 seeds", "Welch", or why there is no interval


def difference(first: Mapping[int, float], second: Mapping[int, float]) -> Difference:
    """Compare figures by seed: the mean of `first` less that of `second`.

    Paired if at least three seeds are common, over those seeds; else Welch's interval over all.
    """
    common = sorted(first.keys() & second.keys())
    if len(common) >= MIN_PAIRS:
        return paired([first[seed] - second[seed] for seed in common])
    return welch(list(first.values()), list(second.values()))


def paired(differences: Sequence[float]) -> Difference:
    """Compute the t interval of the mean of n >= 2 differences."""
    count, mean = len(differences), fmean(differences)
    return _interval(mean, stdev(differences) / math.sqrt(count), count - 1, f"paired, {count} seeds")


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compute Welch's t interval of the difference of two means; the variances need not be equal."""
    mean = fmean(first) - fmean(second)
    if min(len(first), len(second)) < 2:
        return Difference(mean, None, None, "n too small")
    a, b = variance(first) / len(first), variance(second) / len(second)
    if a + b == 0:
        return Difference(mean, None, None, "no spread")
    freedom = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    return _interval(mean, math.sqrt(a + b), freedom, "Welch")


def _interval(mean: float, error: float, freedom: float, method: str) -> Difference:
    if error < TINY:  # an interval of no width would claim certainty
        return Difference(mean, None, None, "no spread")
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    return Difference(mean, mean - half, mean + half, method)
