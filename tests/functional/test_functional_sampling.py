"""Stochastic batches: the law of ordered pairs by exact enumeration, and every odd score."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from alframe.functional.sampling import gumbel_top_k

KINDS = ["softmax", "power", "softrank"]
INF = math.inf


def importance_twin(scores, kind, beta):
    """The papers' formulas, one score at a time."""
    if kind == "softmax":
        return [math.exp(beta * score) for score in scores]
    if kind == "power":
        return [score**beta for score in scores]
    ranks = [1 + sum(other > score for other in scores) for score in scores]
    shared = [rank + (list(scores).count(s) - 1) / 2 for rank, s in zip(ranks, scores, strict=True)]
    return [rank**-beta for rank in shared]


def frequencies(scores, size, draws, **options):
    rng = np.random.default_rng(0)
    counts = {}
    for _ in range(draws):
        rows = tuple(gumbel_top_k(scores, size, rng, **options).tolist())
        counts[rows] = counts.get(rows, 0) + 1
    return counts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("scores", [[0.1, 0.9, 0.4, 0.6], [0.5, 0.2, 0.5, 0.3]])
def test_ordered_pairs_have_the_law_of_drawing_without_replacement(kind, beta, scores):
    draws = 4000
    weights = importance_twin(scores, kind, beta)
    counts = frequencies(np.array(scores), 2, draws, kind=kind, beta=beta)
    for first, second in itertools.permutations(range(4), 2):
        p = weights[first] / sum(weights) * weights[second] / (sum(weights) - weights[first])
        bound = 5 * math.sqrt(draws * p * (1 - p))
        assert abs(counts.get((first, second), 0) - draws * p) < bound


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_scores_give_the_asked_number_of_distinct_rows(kind, data):
    least = 0.0 if kind == "power" else -1e308
    elements = st.floats(least, 1e308) | st.sampled_from([INF, 0.0, 1e-300, 5e-324])
    if kind != "power":
        elements |= st.just(-INF)
    scores = data.draw(hnp.arrays(np.float64, st.integers(0, 12), elements=elements))
    size = data.draw(st.integers(0, len(scores)))
    beta = data.draw(st.sampled_from([1e-300, 1.0, 1e300]))
    rows = gumbel_top_k(scores, size, np.random.default_rng(0), kind=kind, beta=beta)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == size == len(rows)
    assert set(rows.tolist()) <= set(range(len(scores)))


@pytest.mark.parametrize("kind", KINDS)
def test_size_n_is_a_permutation_and_size_0_is_nothing(kind):
    scores = np.random.default_rng(1).random(50)
    rows = gumbel_top_k(scores, 50, np.random.default_rng(0), kind=kind)
    assert sorted(rows.tolist()) == list(range(50))
    assert gumbel_top_k(scores, 0, np.random.default_rng(0), kind=kind).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_rows_and_a_smaller_batch_is_its_beginning(kind):
    scores = np.random.default_rng(2).random(50)
    rows = gumbel_top_k(scores, 20, np.random.default_rng(5), kind=kind)
    again = gumbel_top_k(scores, 20, np.random.default_rng(5), kind=kind)
    fewer = gumbel_top_k(scores, 7, np.random.default_rng(5), kind=kind)
    other = gumbel_top_k(scores, 20, np.random.default_rng(6), kind=kind)
    assert rows.tolist() == again.tolist()
    assert rows[:7].tolist() == fewer.tolist()
    assert rows.tolist() != other.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_beta_takes_the_top(kind):
    scores = np.random.default_rng(3).permutation(np.arange(1, 31) / 31)
    rows = gumbel_top_k(scores, 10, np.random.default_rng(0), kind=kind, beta=1e6)
    assert rows.tolist() == np.argsort(-scores)[:10].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0, 1e300, INF])
def test_equal_scores_are_equally_likely_however_large(kind, value):
    draws = 2000
    counts = frequencies(np.full(4, value), 1, draws, kind=kind)
    bound = 5 * math.sqrt(draws * 0.25 * 0.75)
    assert all(abs(counts[(row,)] - draws / 4) < bound for row in range(4))


@pytest.mark.parametrize(("kind", "least"), [("softmax", -INF), ("power", 0.0)])
def test_infinite_scores_come_first_and_unimportant_ones_last(kind, least):
    scores = np.array([least, 0.5, INF, least, 2.0, INF])
    counts = frequencies(scores, 6, 300, kind=kind)
    assert {frozenset(rows[:2]) for rows in counts} == {frozenset({2, 5})}
    assert {frozenset(rows[4:]) for rows in counts} == {frozenset({0, 3})}
    assert len(counts) == 8  # and each group in every order


def test_softmax_depends_on_differences_only():
    scores = np.random.default_rng(4).random(40)
    rows = gumbel_top_k(scores, 40, np.random.default_rng(0))
    moved = gumbel_top_k(scores - 3.0, 40, np.random.default_rng(0))
    assert rows.tolist() == moved.tolist()


def test_softrank_depends_on_the_order_only():
    scores = np.random.default_rng(4).random(40)
    rows = gumbel_top_k(scores, 40, np.random.default_rng(0), kind="softrank")
    bent = gumbel_top_k(np.exp(9 * scores), 40, np.random.default_rng(0), kind="softrank")
    assert rows.tolist() == bent.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_gives_torch_of_the_same_values(dtype):
    scores = torch.rand(30, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows = gumbel_top_k(scores, 9, np.random.default_rng(0))
    assert isinstance(rows, torch.Tensor)
    assert rows.dtype == torch.int64
    same = gumbel_top_k(scores.double().numpy(), 9, np.random.default_rng(0))
    assert rows.tolist() == same.tolist()


def test_power_refuses_negative_scores_but_not_their_rounding():
    with pytest.raises(ValueError, match=r"not negative .*2 bad rows of 4: 1, 3$"):
        gumbel_top_k(np.array([0.5, -0.1, 0.0, -INF]), 1, np.random.default_rng(0), kind="power")
    rows = gumbel_top_k(np.array([-1e-9, 0.5]), 2, np.random.default_rng(0), kind="power")
    assert rows.tolist() == [1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_refused_with_count_and_rows(kind):
    scores = np.ones(20)
    scores[[4, 17]] = np.nan
    with pytest.raises(ValueError, match=r"scores without NaN, got 2 bad rows of 20: 4, 17$"):
        gumbel_top_k(scores, 3, np.random.default_rng(0), kind=kind)


@pytest.mark.parametrize(
    ("scores", "size", "options", "message"),
    [
        (np.ones((3, 1)), 1, {}, r"scores \[n\], got shape \(3, 1\)"),
        (np.ones(3), 4, {}, r"size from 0 to 3 \(rows\), got 4"),
        (np.ones(3), -1, {}, r"got -1"),
        (np.ones(3), 1, {"kind": "uniform"}, r"softmax, power, softrank, got 'uniform'"),
        (np.ones(3), 1, {"beta": 0.0}, r"beta to be positive and finite, got 0.0"),
        (np.ones(3), 1, {"beta": INF}, r"got inf"),
        (np.ones(3), 1, {"beta": math.nan}, r"got nan"),
    ],
)
def test_other_mistakes_are_named(scores, size, options, message):
    with pytest.raises(ValueError, match=message):
        gumbel_top_k(scores, size, np.random.default_rng(0), **options)
