"""Which of several differences are shown, and how many more seeds the others need.

The p-values of all comparisons of a dataset are corrected together by Holm's method ("A simple sequentially rejective
multiple test procedure", Scandinavian Journal of Statistics 6, 1979): with 19 models next to the best, one in twenty
uncorrected ones would be below 0.05 by chance.

The number of seeds is that of a t test with a power of 0.8 for a difference and a spread as they were measured (Cohen,
"Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2; noncentral t). Its level is 0.05, divided by
the number of comparisons, so that the correction will not hide what the seeds show. The spread of three seeds is itself
uncertain by half, and so is the square of it, the number of seeds, by more: it tells 5 from 50, not 14 from 17.
"""

from collections.abc import Sequence
from dataclasses import replace

from scipy.special import nctdtr, stdtrit

from lenet_pl.compare.intervals import Difference, Sample, standard_error

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 10_000  # a larger number of seeds is not counted
FAR = 6.0  # standard errors, beyond which the wrong sign has a probability below 1e-9 and nctdtr may be NaN


def with_significance(differences: Sequence[Difference], *, plan: bool = True) -> list[Difference]:
    """Add corrected p-values, and the number of further seeds to those that are not shown.

    Args:
        differences: All comparisons of one dataset; those without an interval stay as they are and do not count.
        plan: Whether to compute the number of seeds. The folds of a cross-validation cannot become more.
    """
    corrected = iter(holm([one.p for one in differences if one.p is not None]))
    count = sum(one.p is not None for one in differences)
    found = []
    for one in differences:
        if one.p is not None:
            p = next(corrected)
            seeds = more_seeds(one.mean, one.samples, ALPHA / count) if plan and p > ALPHA else None
            one = replace(one, corrected_p=p, more_seeds=seeds)
        found.append(one)
    return found


def holm(values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of them, by Holm's step-down method. The order is kept.

    Example:
        >>> holm([0.01, 0.04])
        [0.02, 0.04]
    """
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected


def power(mean: float, samples: Sequence[Sample], alpha: float = ALPHA) -> float:
    """Compute the probability that a two-sided t test shows a difference.

    Args:
        mean: The true difference.
        samples: The true variances, and the numbers of observations: one sample of paired differences, or two groups.
        alpha: The level of the test.
    """
    error, freedom = standard_error(samples)
    limit = float(stdtrit(freedom, 1 - alpha / 2))
    shift = abs(mean) / error
    wrong_sign = nctdtr(freedom, shift, -limit) if shift < FAR else 0.0
    return float(1 - nctdtr(freedom, shift, limit) + wrong_sign)


def more_seeds(mean: float, samples: Sequence[Sample], alpha: float = ALPHA) -> int:
    """Compute how many more seeds in each group give a power of 0.8; `MOST_SEEDS` if that many are not enough."""

    def enough(more: int) -> bool:
        return power(mean, [Sample(sample.variance, sample.count + more) for sample in samples], alpha) >= POWER

    if not enough(MOST_SEEDS):
        return MOST_SEEDS
    low, high = -1, MOST_SEEDS  # not enough, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
