"""The pool against a model of plain dictionaries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alframe.pool import NEVER, Pool, distinct

ELIGIBLE = np.array([1, 2, 4, 5, 7, 8, 9])


def rows(*numbers):
    return np.array(numbers, dtype=np.int64)


def pool(asked=(), labeled=()):
    """Labels are ten times the row number."""
    fresh = Pool(10, ELIGIBLE)
    fresh.ask(rows(*asked), 0)
    fresh.label(rows(*labeled), rows(*labeled) * 10, 0)
    return fresh


def test_at_first_every_eligible_row_is_unlabeled():
    fresh = Pool(10, ELIGIBLE)
    np.testing.assert_array_equal(fresh.unlabeled, ELIGIBLE)
    assert len(fresh.labeled) == len(fresh.awaiting) == 0
    assert (fresh.asked == NEVER).all()
    assert (fresh.acquired == NEVER).all()


def test_a_query_waits_until_its_label_comes():
    one = pool(asked=(7, 2))
    assert one.awaiting.tolist() == [2, 7]
    assert one.unlabeled.tolist() == [1, 4, 5, 8, 9]
    assert one.labeled.tolist() == []
    one.label(rows(7), rows(70), 3)
    assert one.awaiting.tolist() == [2]
    assert one.labeled.tolist() == [7]
    assert (one.asked[7], one.acquired[7]) == (0, 3)
    assert one.labels(rows(7, 7)).tolist() == [70, 70]


@pytest.mark.parametrize(
    "asked",
    [(2,), (4, 2), (0,), (4, 3), (4, 4), (7,)],
    ids=["before", "one before", "not eligible", "one not eligible", "same twice", "labeled"],
)
def test_what_cannot_be_asked_changes_nothing(asked):
    one = pool(asked=(2, 7), labeled=(7,))
    before = one.asked.copy()
    with pytest.raises(ValueError, match=r"twice|not eligible or were asked before"):
        one.ask(rows(*asked), 1)
    np.testing.assert_array_equal(one.asked, before)


@pytest.mark.parametrize("row", [-1, -10, 10])
def test_what_is_no_row_number_cannot_be_asked(row):
    """FAISS answers -1 where it found nothing: that must not mean the last row."""
    one = Pool(10, ELIGIBLE)
    with pytest.raises((ValueError, IndexError)):
        one.ask(rows(row), 0)
    assert (one.asked == NEVER).all()


@pytest.mark.parametrize(
    ("numbers", "labels"),
    [((4,), (40,)), ((7,), (71,)), ((2, 2), (20, 20)), ((2, 4), (20, 40)), ((2,), (20, 30))],
    ids=["not asked", "labeled before", "same twice", "one not asked", "lengths"],
)
def test_what_cannot_be_labeled_changes_nothing(numbers, labels):
    one = pool(asked=(2, 7), labeled=(7,))
    with pytest.raises(ValueError, match=r"twice|not asked for or are labeled already|labels"):
        one.label(rows(*numbers), rows(*labels), 1)
    assert one.labeled.tolist() == [7]
    assert one.labels(rows(7)).tolist() == [70]
    for row in (2, 4):
        with pytest.raises(KeyError):
            one.labels(rows(row))


@pytest.mark.parametrize("wanted", [(2,), (1,), (7, 2), (0,)])
def test_hidden_labels_are_not_given(wanted):
    with pytest.raises(KeyError, match="1 rows have no label yet"):
        pool(asked=(2, 7), labeled=(7,)).labels(rows(*wanted))


def test_disclosed_labels_are_known_and_their_rows_stay_candidates():
    one = Pool(10, ELIGIBLE)
    one.disclose(ELIGIBLE, ELIGIBLE * 10)
    np.testing.assert_array_equal(one.unlabeled, ELIGIBLE)
    assert len(one.labeled) == 0
    assert one.labels(rows(9, 1)).tolist() == [90, 10]
    with pytest.raises(KeyError):
        one.labels(rows(0))


def test_given_labels_cannot_be_changed_from_outside():
    one = pool(asked=(2,), labeled=(2,))
    one.labels(rows(2))[:] = 99
    assert one.labels(rows(2)).tolist() == [20]


def test_labels_may_be_vectors_and_of_any_type():
    one = Pool(10, ELIGIBLE)
    one.ask(rows(4, 2), 0)
    one.label(rows(4, 2), np.array([[0.5, 1.5], [2.5, 3.5]]), 0)
    np.testing.assert_array_equal(one.labels(rows(2, 4)), [[2.5, 3.5], [0.5, 1.5]])


def test_what_was_queried_cannot_be_written_to():
    one = Pool(10, ELIGIBLE)
    for row in ELIGIBLE[:2]:
        one.ask(rows(row), 0)
        with pytest.raises(ValueError, match="read-only"):
            one.queried[0] = 3


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Every row is asked at most once and labeled at most once, whatever happens."""

    def __init__(self):
        super().__init__()
        self.pool = Pool(10, ELIGIBLE)
        self.round_id = 0
        self.asked, self.acquired = {}, {}

    @rule(numbers=st.lists(st.integers(0, 9), max_size=4))
    def ask(self, numbers):
        self.round_id += 1
        fine = len(set(numbers)) == len(numbers) and all(
            row in ELIGIBLE and row not in self.asked for row in numbers
        )
        if fine:
            self.pool.ask(rows(*numbers), self.round_id)
            self.asked |= dict.fromkeys(numbers, self.round_id)
        else:
            with pytest.raises(ValueError, match="row"):
                self.pool.ask(rows(*numbers), self.round_id)

    @rule(numbers=st.lists(st.integers(0, 9), max_size=4))
    def label(self, numbers):
        fine = len(set(numbers)) == len(numbers) and all(
            row in self.asked and row not in self.acquired for row in numbers
        )
        if fine:
            self.pool.label(rows(*numbers), rows(*numbers) * 10, self.round_id)
            self.acquired |= dict.fromkeys(numbers, self.round_id)
        else:
            with pytest.raises(ValueError, match="row"):
                self.pool.label(rows(*numbers), rows(*numbers) * 10, self.round_id)

    @precondition(lambda self: set(self.asked) - set(self.acquired))
    @rule()
    def label_all_that_wait(self):
        waiting = self.pool.awaiting
        self.pool.label(waiting, waiting * 10, self.round_id)
        self.acquired |= dict.fromkeys(waiting.tolist(), self.round_id)

    @invariant()
    def the_rows_are_shared_out(self):
        assert self.pool.labeled.tolist() == sorted(self.acquired)
        assert self.pool.queried.tolist() == sorted(self.asked)
        assert self.pool.awaiting.tolist() == sorted(set(self.asked) - set(self.acquired))
        assert self.pool.unlabeled.tolist() == sorted(set(ELIGIBLE.tolist()) - set(self.asked))

    @invariant()
    def rounds_and_labels_are_those_of_the_events(self):
        for row in range(10):
            assert self.pool.asked[row] == self.asked.get(row, NEVER)
            assert self.pool.acquired[row] == self.acquired.get(row, NEVER)
        if self.acquired:
            known = self.pool.labeled
            np.testing.assert_array_equal(self.pool.labels(known), known * 10)


AnyOrderOfEvents.TestCase.settings = settings(
    max_examples=40, stateful_step_count=15, deadline=None
)
TestAnyOrderOfEvents = AnyOrderOfEvents.TestCase


def test_distinct_rows_are_those_of_numpy():
    rng = np.random.default_rng(0)
    for sizes in ((0,), (5,), (1, 0), (40, 30, 2)):
        parts = [rng.integers(20, size=size) for size in sizes]
        np.testing.assert_array_equal(distinct(*parts), np.unique(np.concatenate(parts)))
    np.testing.assert_array_equal(distinct(np.array([[3, -1], [3, 0]])), [-1, 0, 3])
