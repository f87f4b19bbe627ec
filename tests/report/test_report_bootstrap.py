"""Bootstrap intervals against scipy, rliable and a slow twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable_here import library, metrics
from scipy import stats

from alframe.report.bootstrap import draws, percentile_interval
from alframe.report.statistics import mean_interval

VALUES = st.lists(st.integers(0, 1000).map(lambda n: n / 1000), min_size=3, max_size=8)
RNG = np.random.default_rng(0)
CASES = [RNG.normal(0.8, 0.05, n) for n in (3, 5, 8, 20)]


def chance(values: np.ndarray) -> float:
    """By how much a bound moves with the draws: few values have few means, a step apart."""
    return 0.12 * values.std() / math.sqrt(len(values))


@pytest.mark.parametrize("values", CASES, ids=len)
def test_bounds_are_scipys_but_for_chance(values: np.ndarray) -> None:
    low, high = percentile_interval(values)
    scipys = stats.bootstrap((values,), np.mean, n_resamples=50_000, method="percentile", rng=1)
    near = chance(values)
    assert low == pytest.approx(scipys.confidence_interval.low, abs=near)
    assert high == pytest.approx(scipys.confidence_interval.high, abs=near)


@pytest.mark.parametrize("values", CASES, ids=len)
def test_bounds_are_rliables_but_for_chance(values: np.ndarray) -> None:
    np.random.seed(0)  # noqa: NPY002 (rliable draws from the global state)
    means, bounds = library.get_interval_estimates(
        {"us": values[:, None]}, lambda x: np.array([metrics.aggregate_mean(x)]), reps=20_000
    )
    found = mean_interval(values, kind="bootstrap")
    near = chance(values)
    assert found.mean == pytest.approx(means["us"][0])
    assert [found.low, found.high] == pytest.approx(bounds["us"][:, 0], abs=near)


def test_bounds_are_the_slow_twins() -> None:
    values = CASES[1]
    means = []
    for shares in draws(5):
        times = [round(5 * share) for share in shares]
        drawn = [value for value, n in zip(values, times, strict=True) for _ in range(n)]
        assert len(drawn) == 5
        means.append(sum(drawn) / 5)
    means.sort()
    # the 2.5 % quantile of 10,000 sorted numbers stands between the 250th and the 251st
    place = 0.025 * (len(means) - 1)
    low = means[249] + (place - 249) * (means[250] - means[249])
    assert percentile_interval(values)[0] == pytest.approx(low)


def test_each_value_is_drawn_as_often_as_another() -> None:
    shares = draws(6)
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(shares)))
    assert shares.mean(axis=0) == pytest.approx(np.full(6, 1 / 6), abs=0.005)
    # times drawn are binomial: n (1/n) (1 - 1/n)
    assert (6 * shares).var(axis=0) == pytest.approx(np.full(6, 5 / 6), rel=0.06)


@given(VALUES)
def test_the_interval_lies_within_the_values_and_holds_their_mean(values: list[float]) -> None:
    found = mean_interval(values, kind="bootstrap")
    assert min(values) - 1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= max(values) + 1e-9
    assert mean_interval(values, kind="bootstrap") == found, "the same values, the same interval"


@given(VALUES, st.integers(1, 7))
def test_it_moves_and_stretches_with_the_values(values: list[float], times: int) -> None:
    found = mean_interval(values, kind="bootstrap")
    moved = mean_interval([0.5 + times * value for value in values], kind="bootstrap")
    assert [moved.low, moved.high] == pytest.approx(
        [0.5 + times * found.low, 0.5 + times * found.high]
    )


def test_many_rows_at_once_are_the_single_ones() -> None:
    rows = np.random.default_rng(3).random((2, 300, 4))  # more than one chunk
    low, high = percentile_interval(rows)
    assert low.shape == high.shape == (2, 300)
    for place in ((0, 0), (0, 299), (1, 150)):
        single = percentile_interval(rows[place])
        assert [low[place], high[place]] == pytest.approx(np.array(single))


@pytest.mark.parametrize("values", [[], [0.7], [0.6, 0.8], [0.6, 0.8, math.nan]])
def test_fewer_than_three_have_no_interval(values: list[float]) -> None:
    found = mean_interval(values, kind="bootstrap")
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.mean) == (not values)


@pytest.mark.parametrize(("n", "coverage"), [(3, 0.75), (5, 0.83), (10, 0.90)])
def test_the_coverage_that_the_report_tells(n: int, coverage: float) -> None:
    low, high = percentile_interval(np.random.default_rng(n).standard_normal((1500, n)))
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(coverage, abs=0.03)
