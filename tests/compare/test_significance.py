import math

import numpy as np
import pytest
from scipy import stats

from lenet_pl.compare.intervals import Difference, Sample, paired, welch
from lenet_pl.compare.significance import MOST_SEEDS, holm, more_seeds, power, with_significance

ONE, TWO = (Sample(1.0, 2),), (Sample(1.0, 2), Sample(1.0, 2))


def test_power_as_in_the_documentation_of_r() -> None:
    # ?power.t.test, which leaves out the wrong sign: n = 20, delta = 1, sd = 1 has a power of 0.8689528, and a power of
    # 0.90 needs n = 22.02110
    assert power(1.0, [Sample(1.0, 20)] * 2) == pytest.approx(0.8689528, abs=3e-7)
    assert power(1.0, [Sample(1.0, 22)] * 2) < 0.9 < power(1.0, [Sample(1.0, 23)] * 2)


@pytest.mark.parametrize(
    ("effect", "alpha", "paired_n", "unpaired_n"),
    [  # solve_power of TTestPower and TTestIndPower, statsmodels 0.15.0, with a power of 0.8
        (0.3, 0.05, 89.14937, 175.38467),
        (0.3, 0.01, 133.09607, 261.19613),
        (0.8, 0.05, 14.30276, 25.52457),
        (0.8, 0.01, 21.63104, 38.18831),
        (2.0, 0.05, 4.22072, 5.08999),
        (4.0, 0.01, 3.84758, 3.43173),
    ],
)
def test_numbers_of_seeds_as_in_statsmodels(effect: float, alpha: float, paired_n: float, unpaired_n: float) -> None:
    assert 2 + more_seeds(effect, ONE, alpha) == math.ceil(paired_n)
    assert 2 + more_seeds(-effect, TWO, alpha) == math.ceil(unpaired_n)


@pytest.mark.parametrize("shift", [0.1, 3.0, 5.9, 6.1, 30.0, 100.0])
def test_power_at_any_distance_as_in_scipy(shift: float) -> None:
    limit = stats.t(4).ppf(0.975)
    expected = stats.nct(4, shift).sf(limit) + (stats.nct(4, shift).cdf(-limit) if shift < 10 else 0)
    assert power(shift / math.sqrt(5), [Sample(1.0, 5)]) == pytest.approx(expected, abs=1e-9)


def test_a_simulation_with_the_told_number_shows_four_of_five() -> None:
    noise = np.random.default_rng(0)
    variances = (1.0, 4.0)
    more = more_seeds(1.5, [Sample(variance, 3) for variance in variances])
    first, second = (
        noise.normal(mean, variance**0.5, (20_000, 3 + more))
        for mean, variance in zip((1.5, 0.0), variances, strict=True)
    )
    shown = stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue < 0.05
    assert shown.mean() == pytest.approx(power(1.5, [Sample(v, 3 + more) for v in variances]), abs=0.01)
    assert 0.79 < shown.mean() < 0.84


def test_no_difference_needs_more_than_are_counted() -> None:
    assert more_seeds(0.0, ONE) == MOST_SEEDS


@pytest.mark.parametrize(
    ("values", "corrected"),
    [  # multipletests(values, method="holm") of statsmodels 0.15.0; the second is p.adjust of R, too
        ([0.01, 0.04, 0.03, 0.005, 0.2, 0.005], [0.04, 0.09, 0.09, 0.03, 0.2, 0.03]),
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        ([0.7, 0.9], [1.0, 1.0]),
        ([0.03], [0.03]),
        ([], []),
    ],
)
def test_holm(values: list[float], corrected: list[float]) -> None:
    assert holm(values) == pytest.approx(corrected)


def test_p_values_are_those_of_scipy() -> None:
    first, second = [0.91, 0.93, 0.92, 0.95], [0.90, 0.90, 0.91, 0.99]
    assert welch(first, second).p == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
    pairs = [a - b for a, b in zip(first, second, strict=True)]
    assert paired(pairs).p == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_what_is_shown_needs_no_more_and_the_level_is_shared() -> None:
    clear, doubtful, single = (
        paired([1.0, 1.01, 1.02, 0.99]),
        paired([1.0, -0.5, 2.0]),
        Difference(1, None, None, "n too small"),
    )
    found = with_significance([clear, doubtful, single])
    assert found[0].p is not None
    assert found[1].p is not None
    assert [one.corrected_p for one in found] == [pytest.approx(2 * found[0].p), pytest.approx(found[1].p), None]
    # mean 5/6, variance 19/12: the level of each of two comparisons is 0.025
    assert [one.more_seeds for one in found] == [None, more_seeds(5 / 6, [Sample(19 / 12, 3)], 0.025), None]
    assert [one.more_seeds for one in with_significance([clear, doubtful], plan=False)] == [None, None]


def test_what_is_not_shown_needs_at_least_one_more() -> None:
    noise = np.random.default_rng(1)
    for count in range(2, 12):
        found = with_significance([paired(noise.normal(0.5, 1, 2 + count).tolist()) for _ in range(count)])
        assert all((one.more_seeds or 0) >= 1 for one in found if (one.corrected_p or 0) > 0.05)
