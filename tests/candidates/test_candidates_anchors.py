"""The rows most similar to anchors, against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neighbor_twins import PlainNeighbors

from alframe.candidates.anchors import Anchors
from alframe.errors import UserError
from alframe.functional.kmeans import kmeans_pp
from alframe.neighbors.index import TooFewFoundError
from alframe.pool import Pool

NUM = 60


def points(seed=0):
    return np.random.default_rng(seed).normal(size=(NUM, 3)).astype(np.float32)


def pool_with(asked, eligible=None, classes=3):
    one = Pool(NUM, np.arange(NUM) if eligible is None else eligible)
    asked = np.asarray(asked)
    one.ask(asked, 0)
    one.label(asked, asked % classes, 0)
    return one


def drawn(where, pool, count, choose, rng):
    """Anchors, class by class."""
    found = []
    for label in sorted(set(pool.labels(pool.labeled).tolist())):
        members = pool.labeled[pool.labels(pool.labeled) == label]
        count_here = min(count, len(members))
        if choose == "random":
            found += rng.choice(members, count_here, replace=False).tolist()
        else:
            found += members[kmeans_pp(where[members], count_here, rng)].tolist()
    return found


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt(a @ a) / np.sqrt(b @ b))


def definition(where, pool, anchors, k, size):
    similarities = {}
    for anchor in anchors:
        distances = np.linalg.norm(where.astype(np.float64) - where[anchor], axis=1)
        near = sorted(pool.unlabeled.tolist(), key=lambda row: (distances[row], row))[:k]
        for row in near:
            similarities.setdefault(row, []).append(cosine(where[anchor], where[row]))
    best = sorted(similarities, key=lambda row: (-np.mean(similarities[row]), row))
    return sorted(best[:size])


@settings(deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 12), st.integers(1, 30),
    st.sampled_from(["kmeans_pp", "random"]),
)  # fmt: skip
def test_candidates_are_those_of_the_definition(seed, anchors, k, size, choose):
    rng = np.random.default_rng(seed)
    where = rng.normal(size=(NUM, 3))[rng.permutation(NUM)].astype(np.float32)
    eligible = np.sort(rng.permutation(NUM)[:50])
    pool = pool_with(rng.permutation(eligible)[: rng.integers(1, 30)], eligible)
    rule = Anchors(PlainNeighbors(where), anchors, k, size, choose)
    found = rule.rows(pool, 1, np.random.default_rng(seed))
    own = drawn(where, pool, anchors, choose, np.random.default_rng(seed))
    assert found.tolist() == definition(where, pool, own, k, size)
    assert len(found) <= rule.at_most(len(pool.unlabeled), len(pool.labeled))


def test_neighbors_that_are_labeled_do_not_count_among_the_k():
    where = np.arange(NUM, dtype=np.float32)[:, None] + 1
    pool = pool_with(np.arange(20), classes=1)
    found = Anchors(PlainNeighbors(where), anchors=20, k=3).rows(pool, 1, np.random.default_rng(0))
    assert found.tolist() == [20, 21, 22]


def test_each_class_has_its_anchors():
    where = np.zeros((NUM, 2), np.float32)
    where[:30, 0], where[30:, 1] = np.arange(30) + 1, np.arange(30) + 1
    one = Pool(NUM, np.arange(NUM))
    rows = np.array([*range(10, 28), 35])
    one.ask(rows, 0)
    one.label(rows, (rows >= 30).astype(np.int64), 0)
    found = Anchors(PlainNeighbors(where), anchors=1, k=2).rows(one, 1, np.random.default_rng(0))
    assert np.isin([34, 36], found).all()  # of the rare class, which has one label
    assert len(found) == 4


def test_each_round_draws_its_own_anchors():
    pool = pool_with(np.arange(0, NUM, 2))
    rule = Anchors(PlainNeighbors(points()), anchors=1, k=3)
    rounds = [rule.rows(pool, 1, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1, 2)]
    assert rounds[0] == rounds[1]
    assert len({tuple(rows) for rows in rounds}) > 1


@pytest.mark.parametrize("when_short", ["random", "widen"])
def test_too_few_are_filled_up_to_what_is_asked_for(when_short):
    pool = pool_with([0, 1])
    rule = Anchors(PlainNeighbors(points()), 1, 2, 30, when_short=when_short)
    near = rule.rows(pool, 2, np.random.default_rng(0))
    found = rule.rows(pool, 20, np.random.default_rng(0))
    assert len(found) >= 20
    assert (np.diff(found) > 0).all()
    assert np.isin(near, found).all()
    assert np.isin(found, pool.unlabeled).all()
    if when_short == "random":
        assert len(found) == 20
    else:
        own = drawn(points(), pool, 1, "kmeans_pp", np.random.default_rng(0))
        assert found.tolist() == definition(points(), pool, own, 16, 30)
    np.testing.assert_array_equal(
        rule.rows(pool, 58, np.random.default_rng(0)), pool.unlabeled
    )  # of all that there are


def test_too_few_can_be_refused():
    rule = Anchors(PlainNeighbors(points()), 1, 2, 30, when_short="refuse")
    with pytest.raises(UserError, match=r"candidates\.k=2: expected 20 unlabeled neighbors"):
        rule.rows(pool_with([0, 1]), 20, np.random.default_rng(0))


def test_rows_without_an_embedding_are_no_anchors():
    class Holes(PlainNeighbors):
        def points(self, rows):
            found = super().points(rows)
            found[rows == 3] = np.nan
            return found

    class Only(Holes):
        def of(self, rows, k):
            assert 3 not in rows
            return super().of(rows, k)

    pool = pool_with([3, 4, 6], classes=3)
    assert len(Anchors(Only(points()), k=4).rows(pool, 1, np.random.default_rng(0)))
    for when_short in ("random", "widen"):
        rule = Anchors(Only(points()), k=4, when_short=when_short)
        assert len(rule.rows(pool_with([3]), 5, np.random.default_rng(0))) == 5


def test_no_labeled_rows_are_refused():
    with pytest.raises(UserError, match=r"candidates=anchors.*pipeline=active_learning"):
        Anchors(PlainNeighbors(points()), k=2).rows(
            Pool(NUM, np.arange(NUM)), 1, np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    "options",
    [{"anchors": 0}, {"k": 0}, {"k": NUM}, {"size": 0}, {"choose": "all"}, {"when_short": "often"}],
    ids=str,
)
def test_options_out_of_range_are_refused_with_the_key(options):
    ((name, value),) = options.items()
    with pytest.raises(UserError, match=rf"candidates\.{name}={value}"):
        Anchors(PlainNeighbors(points()), **{"k": 5, **options})


class Limited(PlainNeighbors):
    """An approximate index that finds at most so many."""

    def of(self, rows, k):
        if k > 6:
            raise TooFewFoundError(f"expected {k} rows for each query, got 6")
        return super().of(rows, k)


@pytest.mark.parametrize("k", [3, 6])
def test_a_search_that_cannot_be_widened_keeps_what_it_found(k):
    pool, rng = pool_with([0, 1, 2]), np.random.default_rng(0)
    near = Anchors(PlainNeighbors(points()), k=k, size=30).rows(pool, 1, rng)
    found = Anchors(Limited(points()), k=k, size=30, when_short="widen").rows(pool, 30, rng)
    assert len(found) == 30
    assert np.isin(near, found).all()
    with pytest.raises(TooFewFoundError):
        Anchors(Limited(points()), k=7, size=30).rows(pool, 1, rng)
