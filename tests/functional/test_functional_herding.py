"""Herding against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alframe.functional.herding import herding_greedy


def twin(points, size):
    """The definition, with exact means of float64 values."""
    points = np.asarray(points, dtype=np.float64)
    mean, picks, gaps = points.mean(axis=0), [], []
    for t in range(1, size + 1):
        free = [i for i in range(len(points)) if i not in picks]
        gap = {i: np.linalg.norm(mean - points[[*picks, i]].sum(axis=0) / t) for i in free}
        picks.append(min(free, key=lambda i: gap[i]))
        gaps.append(gap[picks[-1]])
    return picks, gaps


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("rows", "width"), [(40, 1), (60, 5), (30, 40)])
def test_against_the_definition(dtype, rows, width):
    points = np.random.default_rng(width).normal(size=(rows, width)).astype(dtype)
    picks, gaps = herding_greedy(points, rows)
    slow, slow_gaps = twin(points, rows)
    # The last pick leaves nothing, and the one before it a choice between equals.
    assert picks.tolist()[:-2] == slow[:-2]
    assert sorted(picks) == list(range(rows))
    np.testing.assert_allclose(gaps[:-2], slow_gaps[:-2], rtol=1e-9, atol=1e-12)


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_ties_go_to_the_lowest_row(points):
    """Whole numbers times their count: all sums are exact, so ties are ties."""
    points = np.array(points, dtype=np.float64) * len(points)
    mean = points.mean(axis=0)
    picks, total = herding_greedy(points, len(points))[0].tolist(), np.zeros(2)
    left = list(range(len(points)))
    for pick in picks:
        score = {i: (((points[i] - mean) * (points[i] - mean + 2 * total)).sum()) for i in left}
        assert pick == min(left, key=lambda i: (score[i], i))
        total += points[pick] - mean
        left.remove(pick)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_scale_and_offset_change_no_pick(scale, offset):
    points = np.random.default_rng(0).integers(-9, 9, size=(50, 3)) + offset
    picks, gaps = herding_greedy(points, 30)
    scaled, scaled_gaps = herding_greedy(points * scale, 30)
    assert np.isfinite(scaled_gaps).all()
    if offset == 0:
        assert (picks == scaled).mean() > 0.9  # the product rounds, and may break a tie
    np.testing.assert_allclose(scaled_gaps[:5] / scale, gaps[:5], rtol=1e-6, atol=1e-9)


def test_the_mean_is_met_much_sooner_than_by_chance():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(2000, 8)).astype(np.float32)
    _, gaps = herding_greedy(points, 100)
    chance = np.linalg.norm(points[:100].mean(axis=0) - points.mean(axis=0))
    assert gaps[-1] < chance / 10


def test_equal_points_lowest_first_and_torch_in_torch_out():
    rows, gaps = herding_greedy(torch.ones(5, 3).half(), 5)
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert (gaps.dtype, gaps.tolist()) == (torch.float64, [0.0] * 5)


def test_refusals():
    points = np.zeros((4, 2))
    with pytest.raises(ValueError, match="from 0 to 4, got 5"):
        herding_greedy(points, 5)
    points[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"1 bad rows of 4: 2$"):
        herding_greedy(points, 1)
