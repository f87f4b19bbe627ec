"""Distances to the centers of groups against plain loops, and an order around the median."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from alframe.functional import moderate
from alframe.functional.moderate import center_distances, from_the_median, members_of


def slow(points, groups):
    """The definition with lists."""
    distances = []
    for point, group in zip(points, groups, strict=True):
        mates = [p for p, g in zip(points, groups, strict=True) if g == group]
        center = [sum(column) / len(mates) for column in zip(*mates, strict=True)]
        distances.append(sum((a - b) ** 2 for a, b in zip(point, center, strict=True)) ** 0.5)
    return distances


@pytest.mark.parametrize("step", [1, 4, 1000])
def test_against_loops_and_scikit_learn(step, monkeypatch):
    monkeypatch.setattr(moderate, "_CHUNK", 3 * step)
    rng = np.random.default_rng(step)
    points, groups = rng.normal(size=(50, 3)), rng.integers(4, size=50)
    distances = center_distances(points, groups)
    np.testing.assert_allclose(distances, slow(points.tolist(), groups), rtol=1e-12)
    centers = NearestCentroid().fit(points, groups).centroids_
    np.testing.assert_allclose(distances, np.linalg.norm(points - centers[groups], axis=1))


@pytest.mark.parametrize("scale", [1e300, 1e-300, 3.0])
def test_any_scale(scale):
    rng = np.random.default_rng(0)
    points, groups = rng.normal(size=(30, 3)), rng.integers(4, size=30)
    expected = center_distances(points, groups) * scale
    np.testing.assert_allclose(center_distances(points * scale, groups), expected, rtol=1e-9)


def test_distances_beyond_float64_are_clipped_and_a_group_may_be_empty():
    largest = np.finfo(np.float64).max
    points = np.array([[largest, largest], [-largest, -largest], [1, 2]])
    distances = center_distances(points, np.array([0, 0, 2]))
    assert distances.tolist() == [largest / 4, largest / 4, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_gives_float64(dtype):
    points = torch.tensor([[0.0, 0.0], [6.0, 8.0], [1.0, 1.0]], dtype=dtype)
    distances = center_distances(points, np.array([1, 1, 0]))
    assert distances.dtype == torch.float64
    assert distances.tolist() == [5, 5, 0]


def test_what_cannot_be_is_refused():
    points, groups = np.zeros((9, 2)), np.zeros(9, np.int64)
    points[[4, 7], 0] = np.nan, -np.inf
    with pytest.raises(ValueError, match="got 2 bad rows of 9: 4, 7"):
        center_distances(points, groups)
    for bad in (groups[:8], groups - 1):
        with pytest.raises(ValueError, match="expected 9 groups"):
            center_distances(np.zeros((9, 2)), bad)
    with pytest.raises(ValueError, match="expected embeddings"):
        center_distances(np.zeros(9), groups)


def test_members_are_ascending_and_together_all():
    groups = np.array([2, 0, 2, 0, 3])
    assert [part.tolist() for part in members_of(groups)] == [[1, 3], [], [0, 2], [4]]


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=12))
def test_values_are_ordered_by_how_close_they_are_to_the_median(values):
    order = from_the_median(np.array(values, dtype=float)).tolist()
    median = statistics.median_low(values)
    assert order == sorted(range(len(values)), key=lambda i: (abs(values[i] - median), i))
