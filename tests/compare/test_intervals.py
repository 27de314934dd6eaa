from math import sqrt

import pytest
from scipy import stats

from lenet_pl.compare.intervals import difference, paired, welch

FIRST = {0: 0.91, 1: 0.93, 2: 0.92, 3: 0.95}
SECOND = {0: 0.90, 1: 0.90, 2: 0.91, 5: 0.99}


def test_three_pairs_by_hand() -> None:
    # differences 1, 2, 3: mean 2, sd 1, standard error 1/√3, and t of 2 degrees of freedom is 4.303
    found = paired([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.low == pytest.approx(2 - 4.303 / sqrt(3), abs=1e-3)
    assert found.high == pytest.approx(2 + 4.303 / sqrt(3), abs=1e-3)


def test_common_seeds_are_paired_as_scipy_pairs_them() -> None:
    found = difference(FIRST, SECOND)
    right = stats.ttest_rel([0.91, 0.93, 0.92], [0.90, 0.90, 0.91]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((right.low, right.high))
    assert found.mean == pytest.approx((0.01 + 0.03 + 0.01) / 3)
    assert found.method == "paired, 3 seeds"


@pytest.mark.parametrize("second", [{0: 0.90, 1: 0.88}, {7: 0.90, 8: 0.90, 9: 0.91}, {0: 0.9, 1: 0.8, 6: 0.7, 7: 0.6}])
def test_fewer_than_three_common_seeds_are_not_paired(second: dict[int, float]) -> None:
    found = difference(FIRST, second)
    test = stats.ttest_ind(list(FIRST.values()), list(second.values()), equal_var=False)
    right = test.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((right.low, right.high))
    assert found.method == "Welch"


def test_welch_by_hand() -> None:
    # equal variances 1 and n = 3 on both sides: 4 degrees of freedom, t = 2.776, standard error √(2/3)
    found = welch([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert found.mean == -3
    assert found.low == pytest.approx(-3 - 2.776 * sqrt(2 / 3), abs=1e-3)


@pytest.mark.parametrize(("first", "second"), [({0: 0.9}, FIRST), (FIRST, {0: 0.9}), ({0: 0.9}, {0: 0.8})])
def test_one_seed_has_no_interval(first: dict[int, float], second: dict[int, float]) -> None:
    found = difference(first, second)
    assert (found.low, found.high, found.method) == (None, None, "n too small")


@pytest.mark.parametrize("second", [{0: 0.5, 1: 0.5, 2: 0.5}, {7: 0.5, 8: 0.5}, {0: 0.5, 1: 0.5 + 1e-15, 2: 0.5}])
def test_no_spread_claims_no_certainty(second: dict[int, float]) -> None:
    found = difference({0: 0.75, 1: 0.75, 2: 0.75}, second)
    assert found.mean == pytest.approx(0.25)
    assert (found.low, found.high, found.method) == (None, None, "no spread")
