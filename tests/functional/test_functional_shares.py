"""Shares against one-by-one twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alframe.functional.shares import leveled_shares, proportional_shares

COUNTS = st.lists(st.integers(0, 30), min_size=1, max_size=8).map(np.array)


@given(COUNTS, st.data())
def test_proportional_shares_are_within_one_of_the_quota(counts, data):
    size = data.draw(st.integers(0, int(counts.sum())))
    shares = proportional_shares(counts, size)
    assert shares.sum() == size
    assert (shares <= counts).all()
    quotas = counts * size / max(1, counts.sum())
    assert (np.abs(shares - quotas) < 1).all()
    assert (shares[quotas == quotas.astype(int)] == quotas[quotas == quotas.astype(int)]).all()


def test_equal_remainders_go_to_the_first():
    assert proportional_shares(np.array([1, 1, 1]), 2).tolist() == [1, 1, 0]
    assert proportional_shares(np.array([10, 0, 30]), 4).tolist() == [1, 0, 3]
    assert proportional_shares(np.array([0, 0]), 0).tolist() == [0, 0]


def test_leveled_by_hand():
    counts, held = np.array([5, 1, 9]), np.array([0, 0, 3])
    assert leveled_shares(counts, held, 1).tolist() == [1, 0, 0]
    assert leveled_shares(counts, held, 4).tolist() == [3, 1, 0]
    assert leveled_shares(counts, held, 6).tolist() == [4, 1, 1]
    assert leveled_shares(counts, held, 15).tolist() == [5, 1, 9]


@given(COUNTS, st.data())
def test_no_move_of_one_row_makes_it_more_even(counts, data):
    held = np.array(
        data.draw(st.lists(st.integers(0, 9), min_size=len(counts), max_size=len(counts)))
    )
    size = data.draw(st.integers(0, int(counts.sum())))
    shares = leveled_shares(counts, held, size)
    assert shares.sum() == size
    assert ((shares >= 0) & (shares <= counts)).all()
    for given_to in np.flatnonzero(shares > 0):
        for other in np.flatnonzero(shares < counts):
            assert held[given_to] + shares[given_to] <= held[other] + shares[other] + 1


@pytest.mark.parametrize("share", [proportional_shares, lambda c, s: leveled_shares(c, c, s)])
def test_more_than_there_is_is_refused(share):
    with pytest.raises(ValueError, match="from 0 to 3, got 4"):
        share(np.array([1, 2]), 4)
