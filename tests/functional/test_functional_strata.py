"""Coverage-centric picks: what is dropped, how many come from each stratum, and that they vary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.functional.strata import coverage_centric, equal_width_strata, even_budgets

SCORES = st.lists(
    st.one_of(st.floats(-1e308, 1e308), st.sampled_from([0.0, 1.0, np.inf, -np.inf])),
    min_size=1,
    max_size=40,
)


def slow_strata(scores, strata):
    """Each score's part by comparing it with the upper ends of the parts."""
    finite = [score for score in scores if np.isfinite(score)] or [0.0]
    low, high = min(finite), max(finite)
    parts = []
    for score in scores:
        score = min(max(score, low), high)
        part = 0
        while part < strata - 1 and score >= low + (high - low) * (part + 1) / strata > low:
            part += 1
        parts.append(part)
    return parts


@given(
    st.lists(st.integers(-60, 60), min_size=1, max_size=40), st.sampled_from([1, 2, 3, 5, 10, 60])
)
def test_strata_against_the_loop(scores, strata):
    scores = np.array(scores, dtype=np.float64) * 2.0**-4
    parts = equal_width_strata(scores, strata)
    near = np.abs(parts - slow_strata(scores, strata))
    on_edge = strata * (scores - scores.min()) / max(np.ptp(scores), 1e-9) % 1
    assert (near <= (np.minimum(on_edge, 1 - on_edge) < 1e-9)).all()  # an edge may round


@given(SCORES, st.integers(1, 60))
def test_strata_rise_with_the_scores_and_reach_both_ends(scores, strata):
    scores = np.array(scores)
    parts = equal_width_strata(scores, strata)
    assert ((parts >= 0) & (parts < strata)).all()
    order = np.argsort(scores)
    assert (np.diff(parts[order]) >= 0).all()
    finite = scores[np.isfinite(scores)]
    if len(np.unique(finite)) > 1:
        assert parts[scores == finite.min()].max() == 0
        assert parts[scores == finite.max()].min() == strata - 1


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_strata_by_hand_at_any_scale(scale):
    scores = np.array([-1.0, -0.51, -0.49, 0.0, 0.49, 0.51, 1.0]) * scale
    assert equal_width_strata(scores, 4).tolist() == [0, 0, 1, 2, 2, 3, 3]


def slow_budgets(counts, size):
    """Algorithm 1 of Zheng et al.: the smallest stratum first, an even share of what is left."""
    waiting, budgets = list(range(len(counts))), [0] * len(counts)
    while waiting:
        smallest = min(waiting, key=lambda part: counts[part])
        budgets[smallest] = min(counts[smallest], size // len(waiting))
        size -= budgets[smallest]
        waiting.remove(smallest)
    return budgets


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.data())
def test_budgets_against_the_loop(counts, data):
    size = data.draw(st.integers(0, sum(counts)))
    budgets = even_budgets(np.array(counts), size)
    assert budgets.tolist() == slow_budgets(counts, size)
    assert budgets.sum() == size
    assert (budgets <= counts).all()
    whole = max(budgets)
    for budget, count in zip(budgets, counts, strict=True):
        assert budget == count or budget >= whole - 1  # all of a small one, else an even share


def picked(difficulty, size, seed=0, beta=0.1, strata=5):
    rng = np.random.default_rng(seed)
    return coverage_centric(np.array(difficulty), size, rng, beta=beta, strata=strata)


@settings(deadline=None)
@given(SCORES, st.data(), st.floats(0, 0.99), st.integers(1, 12))
def test_the_hardest_are_dropped_and_each_stratum_gives_its_share(scores, data, beta, strata):
    scores = np.array(scores)
    total = len(scores)
    size = data.draw(st.integers(1, total))
    picks = picked(scores, size, data.draw(st.integers(0, 99)), beta, strata)
    assert len(picks) == len(set(picks.tolist())) == size
    hardest_first = sorted(range(total), key=lambda row: (-scores[row], row))
    dropped = min(int(beta * total), total - size)
    kept = hardest_first[dropped:]
    assert set(picks.tolist()) <= set(kept)
    parts = dict(zip(kept, equal_width_strata(scores[kept], strata).tolist(), strict=True))
    counts = [sum(part == k for part in parts.values()) for k in range(strata)]
    found = [sum(parts[row] == k for row in picks.tolist()) for k in range(strata)]
    assert found == slow_budgets(counts, size)


def test_by_hand():
    """Ten rows, the hardest dropped; strata of 6, 1 and 2 rows give 2, 1 and 2 of the 5 picks."""
    difficulty = [0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.5, 0.8, 1.0, 99.0]
    for seed in range(20):
        picks = set(picked(difficulty, 5, seed, strata=3).tolist())
        assert {6, 7, 8} < picks
        assert len(picks & set(range(6))) == 2
    assert len({frozenset(picked(difficulty, 5, seed, strata=3)) for seed in range(20)}) > 5


def test_every_row_of_a_stratum_is_as_likely_and_every_place_of_the_order():
    draws = np.array([picked(np.zeros(8), 4, seed) for seed in range(4000)])
    share = np.bincount(draws.flatten(), minlength=8) / 4000
    np.testing.assert_allclose(share, 0.5, atol=0.04)  # five standard deviations
    first = np.bincount(draws[:, 0], minlength=8) / 4000
    np.testing.assert_allclose(first, 1 / 8, atol=0.027)


def test_missing_difficulties_are_refused():
    with pytest.raises(ValueError, match="2 scores are NaN, the first at position 1"):
        picked([0.0, np.nan, np.nan], 1)
