"""Rank correlation and overlap, against scipy's ranks and obvious twins."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from alframe.agreement import overlap, rank_correlations


def spearman(first, second):
    """Pearson's correlation of the mean ranks."""
    return np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1]


def kendall(first, second):
    """Pairs in order less pairs out of order, of those that neither score ties (tau-b)."""
    pairs = list(combinations(range(len(first)), 2))
    a, b = (np.array([np.sign(s[j] - s[i]) for i, j in pairs]) for s in (first, second))
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


@pytest.mark.parametrize("values", [4, 1000])
def test_rank_correlations_are_their_definitions(values):
    draws = np.random.default_rng(0)
    first = draws.integers(values, size=60).astype(float)
    second = first + draws.integers(values, size=60)
    rho, tau = rank_correlations(first, second)
    assert rho == pytest.approx(spearman(first, second))
    assert tau == pytest.approx(kendall(first, second))
    assert 0.3 < tau < rho < 1


def test_infinite_scores_rank_above_all_others():
    first = np.array([1.0, np.inf, 2.0, np.inf, 0.0])
    second = np.array([1.0, 9.0, 2.0, 9.0, 0.0])
    assert rank_correlations(first, second) == pytest.approx((1, 1))
    assert rank_correlations(first, -second) == pytest.approx((-1, -1))


def test_a_score_that_orders_nothing_has_no_correlation():
    assert rank_correlations(np.ones(4), np.arange(4.0)) == (None, None)


def test_overlap_is_the_share_in_common():
    assert overlap(np.array([5, 1, 9, 7]), np.array([7, 2, 5, 8])) == 0.5
    assert overlap(np.array([3]), np.array([3])) == 1
