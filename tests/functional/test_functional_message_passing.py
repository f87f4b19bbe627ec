"""D2 pruning against dictionaries of points, on graphs made with scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from alframe.functional.message_passing import d2_greedy


def graph_of(points, k):
    """Squared distances by pairs of neighbors; the median distance of directed edges is 1."""
    if k == 0:
        return {i: {} for i in range(len(points))}
    finder = NearestNeighbors(n_neighbors=k).fit(points)
    distances, near = finder.kneighbors()
    unit = np.median(distances) or distances.mean() or 1.0
    edges = {i: {} for i in range(len(points))}
    for i in range(len(points)):
        for distance, j in zip(distances[i], near[i].tolist(), strict=True):
            edges[i][j] = edges[j][i] = (distance / unit) ** 2
    return edges


def slow(points, scores, size, k, forward=1.0, reverse=1.0):
    """The definition, pick by pick."""
    edges = graph_of(points, min(k, len(points) - 1))
    passed = {
        i: scores[i] + sum(math.exp(-forward * d) * scores[j] for j, d in edges[i].items())
        for i in edges
    }
    rows, gains = [], []
    for _ in range(size):
        best = max((i for i in edges if i not in rows), key=lambda i: (passed[i], -i))
        rows.append(best)
        gains.append(passed[best])
        for j, d in edges[best].items():
            passed[j] -= math.exp(-reverse * d) * max(passed[best], 0)
    return rows, gains


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("k", "forward", "reverse"), [(1, 1, 1), (5, 0.3, 2), (10, 0.05, 0.1)])
def test_picks_and_scores_against_the_definition(seed, k, forward, reverse):
    rng = np.random.default_rng(seed)
    points, scores = rng.normal(size=(80, 3)), rng.random(80)
    scores /= scores.max()
    rows, gains = d2_greedy(points, scores, 80, k, gamma_forward=forward, gamma_reverse=reverse)
    expected = slow(points, scores, 80, k, forward, reverse)
    assert rows.tolist() == expected[0]
    np.testing.assert_allclose(gains, expected[1], rtol=1e-9, atol=1e-12)
    assert (np.diff(gains) <= 0).all()
    assert gains[-1] < 0  # so that picks below 0 were among them


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32))
def test_any_number_of_points_and_neighbors(n, k, seed):
    rng = np.random.default_rng(seed)
    points, scores = rng.normal(size=(n, 2)), rng.random(n) + 0.1
    scores /= scores.max()
    rows, _ = d2_greedy(points, scores, n, k)
    assert rows.tolist() == slow(points, scores, n, k)[0]


def line(*places):
    return np.array(places, dtype=float)[:, None]


def test_a_crowd_of_hard_points_comes_before_a_lonely_one_as_hard():
    """Of 0, 1, 2 each has neighbors that are hard; 50 has the easy 51 and 52."""
    points, scores = line(0, 1, 2, 50, 51, 52), np.array([0.8, 0.8, 0.8, 1.0, 0.1, 0.1])
    rows, gains = d2_greedy(points, scores, 6, 2)
    assert rows[0] == 1
    assert gains[0] == pytest.approx(0.8 + 2 * 0.8 * math.exp(-1))
    assert d2_greedy(points, scores, 6, 2, gamma_forward=1000)[0][0] == 3


def test_after_a_pick_something_else_comes_before_its_neighbors():
    points, scores = line(0, 1, 2, 50, 51, 52), np.array([1, 0.99, 0.98, 0.5, 0.4, 0.3])
    without = d2_greedy(points, scores, 6, 2, gamma_forward=1000, gamma_reverse=1000)
    assert without[0].tolist() == [0, 1, 2, 3, 4, 5]
    rows, _ = d2_greedy(points, scores, 6, 2, gamma_forward=1000, gamma_reverse=0.1)
    assert rows[:2].tolist() == [0, 3]


def test_one_point_far_away_does_not_change_what_near_means():
    rng = np.random.default_rng(0)
    points, scores = rng.normal(size=(60, 3)), rng.random(60)
    expected, _ = d2_greedy(points, scores, 60, 3)
    points[-1] = 1e5
    rows, _ = d2_greedy(points, scores, 60, 3)
    assert len(set(expected[:10]) & set(rows[:10])) >= 7


def test_of_copies_one_is_taken_before_any_second_one():
    points = np.repeat(np.arange(5.0), 4)[:, None] ** 2
    rows, _ = d2_greedy(points, np.ones(20), 5, 3)
    assert sorted(points[rows, 0]) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("scale", [1e300, 1e-300, 7.0])
def test_scales_of_points_and_scores_play_no_role(scale):
    rng = np.random.default_rng(0)
    points, scores = rng.normal(size=(40, 3)), rng.random(40)
    expected = d2_greedy(points, scores, 40, 4)
    for other in (
        d2_greedy(points * scale, scores, 40, 4),
        d2_greedy(points, scores * scale, 40, 4),
    ):
        assert other[0].tolist() == expected[0].tolist()
        np.testing.assert_allclose(other[1], expected[1], rtol=1e-6, atol=1e-9)


def test_negative_infinite_and_equal_scores():
    points = np.random.default_rng(0).normal(size=(6, 2))
    for given_, same in [
        ([-3, -2, -1, -1, -2, -3], [0, 1, 2, 2, 1, 0]),
        ([1, 2, np.inf, 0, np.inf, 2], [1, 2, 2, 0, 2, 2]),
        ([1, 2, -np.inf, 0, 4, 2], [1, 2, 0, 0, 4, 2]),
        ([0] * 6, [1] * 6),
        ([np.inf] * 6, [1] * 6),
        ([-1e308, 1e308, 0, 0, 0, 0], [0, 2, 1, 1, 1, 1]),
    ]:
        one = d2_greedy(points, np.array(given_, float), 6, 2)
        other = d2_greedy(points, np.array(same, float), 6, 2)
        assert one[0].tolist() == other[0].tolist()
        np.testing.assert_allclose(one[1], other[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype):
    points = torch.tensor([[0.0, 0], [1, 0], [0, 2], [4, 4]], dtype=dtype)
    rows, gains = d2_greedy(points, np.array([1.0, 0.5, 0.2, 0.1]), 4, 2)
    expected = slow(points.double().numpy(), [1, 0.5, 0.2, 0.1], 4, 2)
    assert rows.dtype == torch.int64
    assert rows.tolist() == expected[0]
    np.testing.assert_allclose(gains, expected[1], atol=1e-12)


def test_what_cannot_be_is_refused():
    points, scores = np.zeros((5, 2)), np.ones(5)
    for arguments in [(points, scores[:4], 1), (points, scores, 6), (points, scores, 1, 0)]:
        with pytest.raises(ValueError, match="expected scores"):
            d2_greedy(*arguments)
    for gamma in (-1, np.inf, np.nan):
        with pytest.raises(ValueError, match="expected gammas"):
            d2_greedy(points, scores, 1, gamma_reverse=gamma)
    with pytest.raises(ValueError, match="got 1 bad rows of 5: 3"):
        d2_greedy(points, np.array([1, 1, 1, np.nan, 1]), 1)
    points[2, 0] = np.inf
    with pytest.raises(ValueError, match="got 1 bad rows of 5: 2"):
        d2_greedy(points, scores, 1)
