"""Label counts, what a schedule refuses, and one random stream per purpose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alframe.errors import UserError
from alframe.schedule import Schedule, rng

COUNTS = [
    (Schedule(20, 20, 60), [20, 40, 60]),
    (Schedule(20, 20, 50), [20, 40, 50]),
    (Schedule(20, 200, 50), [20, 50]),
    (Schedule(20, 5, 20), [20]),
    (Schedule(30, 40), [30, 70, 100]),
    (Schedule(100, 1), [100]),
    (Schedule(20, [10, 30]), [20, 30, 60]),
    (Schedule(20, [10, 30], 60), [20, 30, 60]),
    (Schedule(20, [10, 30], 45), [20, 30, 45]),
    (Schedule(20, [10, 30], 30), [20, 30]),
    (Schedule(20, [10, 30], 20), [20]),
    (Schedule(20, [80]), [20, 100]),
]


@pytest.mark.parametrize(("schedule", "expected"), COUNTS, ids=[str(c[0]) for c in COUNTS])
def test_counts_by_hand(schedule, expected):
    counts = schedule.counts(100)
    assert counts == expected
    assert all(type(count) is int for count in counts)


def test_the_schedule_of_selection_via_proxy():
    schedule = Schedule(1000, [4000, 5000, 5000, 5000, 5000])
    assert schedule.counts(50_000) == [1000, 5000, 10_000, 15_000, 20_000, 25_000]


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 60), st.integers(0, 99))
def test_rounds_are_of_the_asked_size_but_for_the_last(initial, extra, size, slack):
    budget = initial + extra
    schedule = Schedule(initial, size, budget)
    counts = schedule.counts(budget + slack)
    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert (counts[0], counts[-1]) == (initial, budget)
    assert set(steps[:-1]) <= {size}
    assert 1 <= steps[-1] <= size
    assert all(schedule.usual_size(i + 1) == size for i in range(len(steps)))


@given(
    st.integers(1, 50), st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 200)
)
def test_rounds_of_a_list_are_those_of_the_list_but_for_the_last(initial, sizes, extra):
    schedule = Schedule(initial, sizes, initial + extra)
    if extra > sum(sizes):
        with pytest.raises(UserError, match=r"schedule.budget=\d+ is never reached"):
            schedule.counts(1000)
        return
    counts = schedule.counts(1000)
    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert counts[-1] == initial + extra
    assert steps[:-1] == sizes[: max(0, len(steps) - 1)]
    for round_id, step in enumerate(steps, start=1):
        assert 1 <= step <= schedule.usual_size(round_id)


BASE = {"initial": 20, "query_size": 10}
REFUSED = [
    ({"query_size": 0}, "schedule.query_size=0"),
    ({"query_size": -3}, "schedule.query_size=-3"),
    ({"query_size": []}, r"schedule.query_size=\[\]"),
    ({"query_size": [10, 0]}, r"schedule.query_size=\[10, 0\]"),
    ({"query_size": 2.5}, "schedule.query_size=2.5"),
    ({"query_size": [10, 2.5]}, r"schedule.query_size=\[10, 2.5\]"),
    ({"initial": 0}, "schedule.initial=0"),
    ({"initial": -1}, "schedule.initial=-1"),
    ({"initial": 20.5}, "schedule.initial=20.5"),
    ({"initial": 0.1}, "schedule.initial=0.1"),
    ({"budget": 0}, "schedule.budget=0"),
    ({"budget": -5}, "schedule.budget=-5"),
    ({"budget": 10}, "schedule.budget=10 is below schedule.initial=20"),
    ({"budget": 60.5}, "schedule.budget=60.5"),
    ({"target_accuracy": 0}, "schedule.target_accuracy=0"),
    ({"target_accuracy": 1.01}, "schedule.target_accuracy=1.01"),
    ({"target_accuracy": float("nan")}, "schedule.target_accuracy=nan"),
    ({"evaluate_at": 30}, "schedule.evaluate_at=30"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_promise_5_is_refused_with_the_key(options, message):
    with pytest.raises(UserError, match=message):
        Schedule(**{**BASE, **options})


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Schedule(101, 1), "schedule.initial=101: expected at most the 100 rows"),
        (Schedule(20, 1, 101), "schedule.budget=101: expected at most the 100 rows"),
        (Schedule(20, [50, 31]), r"schedule.query_size=\[50, 31\] asks for 101 labels"),
    ],
)
def test_more_labels_than_the_pool_has_are_refused(schedule, message):
    with pytest.raises(UserError, match=message):
        schedule.counts(100)


def test_the_target_is_evaluated_where_asked_and_at_the_end():
    schedule = Schedule(20, 10, 60, evaluate_at=[30, 50])
    assert [schedule.evaluates(n, n == 60) for n in (20, 30, 40, 50, 60)] == [0, 1, 0, 1, 1]
    always, never = Schedule(20, 10, 60), Schedule(20, 10, 60, evaluate_at=[])
    assert always.evaluates(20, last=False)
    assert not never.evaluates(20, last=False)
    assert never.evaluates(60, last=True)


def test_counts_that_no_round_reaches_are_refused():
    schedule = Schedule(20, 10, 60, evaluate_at=[30, 35, 70])
    with pytest.raises(UserError, match=r"schedule.evaluate_at=\[35, 70\].*\[20, 30"):
        schedule.check_evaluate_at(schedule.counts(100))
    Schedule(20, 10, 60, evaluate_at=[30]).check_evaluate_at([20, 30])
    Schedule(20, 10, 60).check_evaluate_at([20])


# --- random streams ---

TRIPLES = st.tuples(st.integers(0, 2**64), st.text(max_size=20), st.integers(0, 1000))


def draws(triple):
    return rng(*triple).integers(2**63, size=4).tolist()


@given(TRIPLES)
def test_the_same_triple_gives_the_same_stream(triple):
    assert draws(triple) == draws(triple)


@given(TRIPLES, TRIPLES)
def test_other_triples_give_other_streams(one, other):
    assert (draws(one) == draws(other)) == (one == other)


def test_seed_0_is_a_seed_and_seeds_above_32_bits_are_too():
    streams = {tuple(draws((seed, "initial", 0))) for seed in (0, 1, 2**32, 2**32 + 1, 2**63)}
    assert len(streams) == 5


def test_drawing_for_one_purpose_moves_no_other():
    before = draws((3, "select", 1))
    rng(3, "initial", 1).random(1000)
    rng(3, "select", 1).random(1000)
    assert draws((3, "select", 1)) == before


def test_streams_of_purposes_and_rounds_are_not_correlated():
    purposes = ["initial", "select", "candidates", "fit target", "fit proxy"]
    drawn = [rng(0, p, r).random(2000) for p in purposes for r in range(3)]
    off_diagonal = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(2000)


@pytest.mark.parametrize("seed", [-1, 1.5, "abc", None])
def test_promise_5_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(UserError, match=f"seed={seed}"):
        rng(seed, "initial")
