import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alframe.errors import UserError
from alframe.report.statistics import (
    area_under_curve,
    check_target,
    first_reach,
    mean_interval,
    over_seeds,
)

VALUES = st.lists(st.integers(0, 10_000).map(lambda n: n / 10_000), min_size=2, max_size=8)


@given(VALUES)
def test_interval_is_scipys(values: list[float]) -> None:
    found = mean_interval(values)
    if np.ptp(values) == 0:
        assert found.low == pytest.approx(values[0])
        assert found.high == pytest.approx(values[0])
        return
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high, found.n) == pytest.approx(
        (np.mean(values), low, high, len(values)), abs=1e-12
    )


def test_interval_of_two_by_hand() -> None:
    # s = sqrt(0.02), t(0.975, 1) = 12.7062: half = 12.7062 * s / sqrt(2) = 1.27062
    found = mean_interval([0.4, 0.6])
    assert found.mean == pytest.approx(0.5)
    assert found.high - found.mean == pytest.approx(1.27062, abs=1e-5)
    assert found.mean - found.low == pytest.approx(1.27062, abs=1e-5)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one = mean_interval([0.7, math.nan])
    assert (one.mean, one.n) == (0.7, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    none = mean_interval([])
    assert none.n == 0
    assert math.isnan(none.mean)


def test_runs_are_aligned_by_equal_budgets_only() -> None:
    points = pd.DataFrame(
        {"labeled": [10, 20, 10, 20, 30, 10], "accuracy": [0.1, 0.5, 0.3, 0.7, 0.9, 0.2]}
    )
    table = over_seeds(points, "labeled", "accuracy")
    assert list(table["labeled"]) == [10, 20, 30]
    assert list(table["n"]) == [3, 2, 1]
    assert list(table["mean"]) == pytest.approx([0.2, 0.6, 0.9])
    low, high = stats.t.interval(0.95, 2, 0.2, stats.sem([0.1, 0.3, 0.2]))
    assert (table["low"][0], table["high"][0]) == pytest.approx((low, high))
    assert math.isnan(table["low"][2])


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), min_size=2, max_size=9))
def test_area_is_the_slow_twins(steps: list[tuple[int, float]]) -> None:
    x = np.cumsum([step for step, _ in steps])
    y = [height for _, height in steps]
    # the slow twin: every unit of width on its own
    total = 0.0
    for i in range(len(x) - 1):
        width = int(x[i + 1] - x[i])
        for unit in range(width):
            total += y[i] + (y[i + 1] - y[i]) * (unit + 0.5) / width
    assert area_under_curve(x, y) == pytest.approx(total / (x[-1] - x[0]), abs=1e-9)


def test_the_log_budget_weighs_each_doubling_the_same() -> None:
    # by hand: 10 to 20 at height 0.5 on average, 20 to 80 (two doublings) at 0.8
    assert area_under_curve([10, 20, 80], [0.4, 0.6, 1.0], log=True) == pytest.approx(
        (0.5 + 2 * 0.8) / 3
    )
    x, y = np.array([3, 7, 50, 51]), np.array([0.1, 0.4, 0.3, 0.9])
    twin = np.trapezoid(y, np.log10(x)) / np.ptp(np.log10(x))
    assert area_under_curve(x, y, log=True) == pytest.approx(twin)
    assert area_under_curve([0, 3, 7, 50, 51], [0.2, *y], log=True) == pytest.approx(twin)


@pytest.mark.parametrize("x", [[], [5], [5, 5]])
def test_area_without_width_is_nan(x: list[int]) -> None:
    assert math.isnan(area_under_curve(x, [0.5] * len(x)))


def test_first_reach_is_the_first_even_where_the_curve_falls_again() -> None:
    assert first_reach([0.1, 0.6, 0.4, 0.9], 0.6) == 1
    assert first_reach([0.1, 0.6], 0.61) is None


@pytest.mark.parametrize("target", [0.0, -1.0, 1.01, 90.0, math.nan])
def test_a_target_that_is_no_accuracy_is_refused(target: float) -> None:
    with pytest.raises(UserError, match="--target-accuracy"):
        check_target(target)


def test_a_target_of_one_is_an_accuracy() -> None:
    check_target(1.0)
