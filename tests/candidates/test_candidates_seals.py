"""The neighbors of labeled rows, against their definition."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neighbor_twins import PlainNeighbors

from alframe.candidates.seals import Seals
from alframe.errors import UserError
from alframe.neighbors.exact import ExactIndex
from alframe.neighbors.index import TooFewFoundError
from alframe.neighbors.kinds import faiss
from alframe.neighbors.neighborhood import Neighborhood
from alframe.neighbors.source import ArraySource
from alframe.pool import Pool

NUM = 60


def points(seed=0):
    return np.random.default_rng(seed).normal(size=(NUM, 3))


def pool_with(labeled, eligible=None):
    one = Pool(NUM, np.arange(NUM) if eligible is None else eligible)
    for round_id, rows in enumerate(labeled):
        rows = np.asarray(rows)
        one.ask(rows, round_id)
        one.label(rows, rows % 2, round_id)
    return one


def definition(where, pool, k):
    """The union, over labeled rows, of the k nearest other rows, less what is not unlabeled."""
    found = set()
    for row in pool.labeled:
        distances = np.linalg.norm(where - where[row], axis=1)
        others = [other for other in range(len(where)) if other != row]
        found |= set(sorted(others, key=lambda other: (distances[other], other))[:k])
    return sorted(found & set(pool.unlabeled.tolist()))


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6))
def test_candidates_are_those_of_the_definition(seed, k, rounds):
    rng = np.random.default_rng(seed)
    where = rng.normal(size=(NUM, 3))[rng.permutation(NUM)]
    eligible = np.sort(rng.permutation(NUM)[:50])
    asked = np.array_split(rng.permutation(eligible)[: 3 * rounds], rounds)
    rule = Seals(PlainNeighbors(where), k)
    for count in range(1, rounds + 1):
        pool = pool_with(asked[:count], eligible)
        found = rule.rows(pool, 1, rng)
        expected = definition(where, pool, k)
        if expected:  # else one random row is given
            assert found.tolist() == expected
        assert not np.isin(found, pool.labeled).any()
        assert np.isin(found, eligible).all()


def test_a_resumed_run_looks_at_the_same_rows():
    rounds = [[3, 17], [8], [40, 41, 5]]
    went_on = Seals(PlainNeighbors(points()), 4)
    for count in range(1, 4):
        found = went_on.rows(pool_with(rounds[:count]), 2, np.random.default_rng(count))
        resumed = Seals(PlainNeighbors(points()), 4)
        again = resumed.rows(pool_with(rounds[:count]), 2, np.random.default_rng(count))
        np.testing.assert_array_equal(found, again)


def test_only_newly_labeled_rows_are_searched_for():
    neighbors = PlainNeighbors(points())
    rule = Seals(neighbors, 4)
    for count in range(1, 4):
        rule.rows(pool_with([[3, 17], [8], [40, 41, 5]][:count]), 1, np.random.default_rng(0))
    assert [rows.tolist() for rows in neighbors.searched] == [[3, 17], [8], [5, 40, 41]]


def test_a_resumed_run_searches_at_once_for_what_was_searched_for_at_once():
    """Libraries sum in another order for another number of queries."""
    rounds = [[3, 17, 30], [8], [40, 41, 5]]
    went_on, resumed = PlainNeighbors(points()), PlainNeighbors(points())
    rule = Seals(went_on, 4)
    for count in range(1, 4):
        rule.rows(pool_with(rounds[:count]), 1, np.random.default_rng(0))
    Seals(resumed, 4).rows(pool_with(rounds), 1, np.random.default_rng(0))
    assert [r.tolist() for r in resumed.searched] == [r.tolist() for r in went_on.searched]


def test_what_was_looked_up_is_not_searched_for_again():
    rounds = [[3, 17], [8], [40, 41, 5]]
    neighbors = PlainNeighbors(points())
    rule = Seals(neighbors, 4)
    for count in range(1, 4):
        pool = pool_with(rounds[:count])
        rule.look_up(pool)
        assert [sorted(rows) for rows in rounds[:count]] == [r.tolist() for r in neighbors.searched]
        found = rule.rows(pool, 1, np.random.default_rng(0))
        assert found.tolist() == definition(points(), pool, 4)
    assert len(neighbors.searched) == 3


def test_duplicates_of_a_labeled_row_are_candidates():
    where = points()
    where[[20, 30]] = where[10]
    found = Seals(PlainNeighbors(where), 2).rows(pool_with([[20]]), 1, np.random.default_rng(0))
    assert found.tolist() == [10, 30]


@pytest.mark.parametrize("when_short", ["random", "widen"])
def test_too_few_are_filled_up_to_what_is_asked_for(when_short):
    pool = pool_with([[0]])
    rule = Seals(PlainNeighbors(points()), 2, when_short)
    near = rule.rows(pool, 2, np.random.default_rng(0))
    found = rule.rows(pool, 30, np.random.default_rng(0))
    assert len(found) == (30 if when_short == "random" else 32)
    assert (np.diff(found) > 0).all()
    assert np.isin(near, found).all()
    assert not np.isin(found, pool.labeled).any()
    np.testing.assert_array_equal(found, rule.rows(pool, 30, np.random.default_rng(0)))
    if when_short == "widen":
        assert found.tolist() == definition(points(), pool, 32)


def test_an_index_that_finds_few_is_widened_to_all():
    class Poor(PlainNeighbors):
        def of(self, rows, k):
            found = super().of(rows, k)
            found[:, 3:] = -1
            return found

    pool = pool_with([[0, 1]])
    found = Seals(Poor(points()), 5, "widen").rows(pool, 58, np.random.default_rng(0))
    np.testing.assert_array_equal(found, pool.unlabeled)


def test_too_few_can_be_refused():
    rule = Seals(PlainNeighbors(points()), 2, "refuse")
    with pytest.raises(UserError, match=r"candidates\.k=2: expected 30 unlabeled neighbors.*got 2"):
        rule.rows(pool_with([[0]]), 30, np.random.default_rng(0))


def test_no_labeled_rows_are_refused():
    with pytest.raises(UserError, match="pipeline=active_learning"):
        Seals(PlainNeighbors(points()), 2).rows(pool_with([]), 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("k", "when_short", "key"),
    [(0, "random", "k=0"), (NUM, "random", f"k={NUM}"), (2, "often", "when_short=often")],
)
def test_options_out_of_range_are_refused_with_the_key(k, when_short, key):
    with pytest.raises(UserError, match=rf"candidates\.{key}"):
        Seals(PlainNeighbors(points()), k, when_short)


def test_it_never_gives_more_than_it_says():
    rule = Seals(PlainNeighbors(points()), 5)
    assert (rule.at_most(57, 3), rule.at_most(10, 3), rule.at_least(57)) == (15, 10, 57)
    assert len(rule.rows(pool_with([[1, 2, 3]]), 1, np.random.default_rng(0))) <= 15


class Limited(PlainNeighbors):
    """An approximate index that finds at most so many."""

    def of(self, rows, k):
        if k > 6:
            raise TooFewFoundError(f"expected {k} rows for each query, got 6")
        return super().of(rows, k)


def test_a_search_that_cannot_be_widened_keeps_what_it_found(caplog):
    pool, rng = pool_with([[0, 1]]), np.random.default_rng(0)
    near = definition(points(), pool, 6)
    for k in (3, 6):
        found = Seals(Limited(points()), k, "widen").rows(pool, 30, rng)
        others = [row for row in pool.unlabeled if row not in near][: 30 - len(near)]
        assert found.tolist() == sorted([*near, *others])
    assert "the search is not widened to 12 neighbors" in caplog.text
    with pytest.raises(TooFewFoundError):  # what is asked for at first must be found
        Seals(Limited(points()), 7, "widen").rows(pool, 30, rng)


EMBEDDINGS = np.random.default_rng(3).normal(size=(300, 6)).astype(np.float32)
EMBEDDINGS[[5, 100, 299]] = np.nan
INDEXES = {
    "exact": partial(ExactIndex, device="cpu", drop_invalid=True),
    "ivf_flat": partial(faiss, factory="IVF8,Flat", nprobe=8, refine=1, drop_invalid=True),
}


@pytest.mark.parametrize("name", INDEXES)
@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_shuffled_rows_have_the_same_candidates(name, seed):
    """Row numbers, and no positions: in a shuffled pool (without ties) the same are found."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(EMBEDDINGS))  # of the shuffled pool, by the original rows
    now = np.argsort(order)
    eligible = np.sort(rng.permutation(300)[:250])
    asked = np.array_split(rng.permutation(eligible)[:9], 3)
    rules = []
    for points_of in (EMBEDDINGS, EMBEDDINGS[order]):
        index, source = INDEXES[name](), ArraySource(points_of)
        index.build(source)
        rules.append(Seals(Neighborhood(index, source), 8))
    for count in range(1, 4):
        pools = [Pool(300, eligible), Pool(300, np.sort(now[eligible]))]
        for round_id, rows in enumerate(asked[:count]):
            for pool, theirs in zip(pools, (rows, now[rows]), strict=True):
                pool.ask(theirs, round_id)
                pool.label(theirs, rows % 2, round_id)
        first, second = (
            rule.rows(pool, 1, np.random.default_rng(0))
            for rule, pool in zip(rules, pools, strict=True)
        )
        assert np.sort(order[second]).tolist() == first.tolist()
