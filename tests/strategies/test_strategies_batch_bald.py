"""BatchBALD by row number against the enumeration of all labelings."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from strategy_worlds import select, strategy_of, world

from alframe.errors import UserError
from alframe.protocols import Work
from alframe.strategies.batch_bald import BatchBald


def information(draws_of, rows):
    """Mutual information of the rows' labels and the draw: all labelings, in plain loops."""
    draws, labels = len(draws_of[rows[0]]), len(draws_of[rows[0]][0])
    total = 0.0
    for labeling in itertools.product(range(labels), repeat=len(rows)):
        under = [
            math.prod(draws_of[row][k][label] for row, label in zip(rows, labeling, strict=True))
            for k in range(draws)
        ]
        mean = sum(under) / draws
        total += sum(p / draws * math.log(p / mean) for p in under if p > 0)
    return total


def brute_force(seen, size, draws):
    every = seen.mc_probs[:, :draws].tolist()
    draws_of = dict(zip(seen.rows.tolist(), every, strict=True))
    picks, scores, before = [], [], 0.0
    for _ in range(size):
        free = [row for row in seen.candidates.tolist() if row not in picks]
        told = {row: information(draws_of, [*picks, row]) for row in free}
        best = max(free, key=lambda row: told[row])
        picks.append(best)
        scores.append(told[best] - before)
        before = told[best]
    return picks, scores


@pytest.mark.parametrize("pipeline", ["active_learning", "core_set"])
@pytest.mark.parametrize("seed", range(3))
def test_picks_and_scores_equal_the_enumeration(seed, pipeline):
    seen = world(seed, candidates=12, classes=3)
    query = select(BatchBald(draws=6), seen, 4, pipeline=pipeline)
    rows, scores = brute_force(seen, 4, draws=6)
    assert query.rows.tolist() == rows
    np.testing.assert_allclose(query.scores, scores, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_sample_of_labelings_finds_picks_as_good(seed):
    seen = world(seed, candidates=12, classes=3)
    exact = select(BatchBald(draws=6), seen, 5)
    sampled = select(BatchBald(draws=6, exact_up_to=1, samples=20_000), seen, 5, seed)
    draws_of = dict(zip(seen.rows.tolist(), seen.mc_probs[:, :6].tolist(), strict=True))
    best, found = (information(draws_of, query.rows.tolist()) for query in (exact, sampled))
    assert found > 0.98 * best
    assert abs(sampled.scores.sum() - found) < 0.03


def test_of_two_copies_only_one_is_picked_where_bald_takes_both():
    seen = world(classes=3)
    first = select(strategy_of("bald"), seen, 1).rows[0]
    copy = next(row for row in seen.candidates if row != first)
    # Surer than the draws of the original: their labels tell nearly the same.
    surest = torch.eye(3, dtype=torch.float64)[torch.arange(20) % 3]
    for row in (first, copy):
        seen.mc_probs[seen.rows == row] = surest
    assert set(select(strategy_of("bald"), seen, 2).rows) == {first, copy}
    picks = select(BatchBald(), seen, 5)
    assert picks.rows[0] == min(first, copy)
    assert max(first, copy) not in picks.rows
    assert picks.scores[0] == pytest.approx(math.log(3), rel=0.01)


def test_when_it_is_known_which_draw_it_is_bald_takes_the_rest():
    """Two rows of one-hot draws name each of four draws; nothing is left to learn."""
    seen = world(classes=2)
    a, b = seen.candidates[[4, 20]]
    eye = torch.eye(2, dtype=torch.float64)
    mc_probs = seen.mc_probs[:, :4].clone()
    mc_probs[seen.rows == a] = eye[torch.tensor([0, 0, 1, 1])]
    mc_probs[seen.rows == b] = eye[torch.tensor([0, 1, 0, 1])]
    seen = replace(seen, mc_probs=mc_probs)
    query = select(BatchBald(draws=4), seen, 10)
    assert query.rows[:2].tolist() == [a, b]
    np.testing.assert_allclose(query.scores[:2], math.log(2))
    assert (query.scores[2:] == 0).all()
    draws_of = dict(zip(seen.rows.tolist(), seen.mc_probs.tolist(), strict=True))
    rest = [row for row in seen.candidates.tolist() if row not in (a, b)]
    rest.sort(key=lambda row: -information(draws_of, [row]))
    assert query.rows[2:].tolist() == rest[:8]


def test_scores_fall_though_estimates_are_noisy():
    query = select(BatchBald(exact_up_to=1, samples=50, enough=0), world(), 37)
    assert (np.diff(query.scores) <= 0).all()


def test_its_estimate_of_memory_grows_with_the_draws():
    work = Work(size=10, candidates=10**5, labeled=0, width=64, outputs=10)
    few, many = BatchBald(draws=5).cost(work), BatchBald(draws=50).cost(work)
    assert many.bytes - few.bytes >= 10**5 * 45 * 10 * 8
    assert many.operations == pytest.approx(10 * few.operations, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 1}, r"strategy\.draws=1: expected a whole number, 2 or more"),
        ({"exact_up_to": 0}, r"strategy\.exact_up_to=0: expected a whole number, 1 or more"),
        ({"samples": 0.5}, r"strategy\.samples=0.5: expected a whole number, 1 or more"),
        ({"enough": -1}, r"strategy\.enough=-1: expected a number from 0 to 1"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        BatchBald(**options)
