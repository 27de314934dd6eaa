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
from statistics import fmean, variance
from typing import Any

from scipy.special import stdtr, stdtrit  # CDF and quantile of t; importing scipy.stats takes another second

LEVEL = 0.95
MIN_PAIRS = 3  # common seeds; for two, the quantile of t is 12.7
TINY = 1e-9  # standard errors below the precision of results.json count as zero


@dataclass(frozen=True)
class Sample:
    """Variance (n - 1) and size of a sample: of the differences of pairs, or of one of two groups."""

    variance: float
    count: int


@dataclass(frozen=True)
class Difference:
    """A difference of two means with its 95% confidence interval.

    Attributes:
        mean: The difference.
        low: The lower end of the interval; None without an interval.
        high: The upper end.
        method: "paired, 3 seeds", "Welch", or the reason why there is no interval.
        p: The two-sided p-value of the t test that belongs to the interval; None without an interval.
        samples: One sample of paired differences, or two groups; empty without an interval.
        corrected_p: `p` corrected for the number of comparisons (`significance`); None without an interval.
        more_seeds: How many more seeds per group such a difference needs to be shown; None if it is shown, or if no
            number can be told (`significance`).
    """

    mean: float
    low: float | None
    high: float | None
    method: str
    p: float | None = None
    samples: tuple[Sample, ...] = ()
    corrected_p: float | None = None
    more_seeds: int | None = None


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
    sample = Sample(variance(differences), len(differences))
    return _interval(fmean(differences), (sample,), f"paired, {sample.count} seeds")


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compute Welch's t interval for the difference of two means with possibly unequal variances."""
    mean = fmean(first) - fmean(second)
    if min(len(first), len(second)) < 2:
        return Difference(mean, None, None, "n too small")
    return _interval(mean, tuple(Sample(variance(one), len(one)) for one in (first, second)), "Welch")


def standard_error(samples: Sequence[Sample]) -> tuple[float, float]:
    """Compute the standard error of a difference, and its degrees of freedom by Welch and Satterthwaite.

    For a single sample, these are the figures of Student's t: s / √n and n - 1.
    """
    parts = [sample.variance / sample.count for sample in samples]
    if sum(parts) == 0:
        return 0.0, math.nan
    terms = (part**2 / (sample.count - 1) for part, sample in zip(parts, samples, strict=True))
    return math.sqrt(sum(parts)), sum(parts) ** 2 / sum(terms)


def _interval(mean: float, samples: tuple[Sample, ...], method: str) -> Difference:
    error, freedom = standard_error(samples)
    if error < TINY:  # an interval of width zero would claim certainty
        return Difference(mean, None, None, "no spread")
    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error
    p = 2 * float(stdtr(freedom, -abs(mean) / error))
    return Difference(mean, mean - half, mean + half, method, p, samples)
