"""Mean cosine similarity against the full matrix of scikit-learn and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from alframe.functional import density
from alframe.functional.density import mean_cosine


def slow(points):
    """The definition, pair by pair."""
    units = []
    for point in points.tolist():
        length = math.hypot(*point)
        units.append([value / length if length else 0.0 for value in point])
    pairs = [[sum(a * b for a, b in zip(u, v, strict=True)) for v in units] for u in units]
    return [sum(row) / len(row) for row in pairs]


@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 5), (7, 1), (60, 4)])
def test_against_loops_and_scikit_learn(n, d):
    points = np.random.default_rng(n + d).normal(size=(n, d))
    points[n // 2] = 0
    np.testing.assert_allclose(mean_cosine(points), slow(points), atol=1e-12)
    expected = cosine_similarity(points).mean(axis=1)
    np.testing.assert_allclose(mean_cosine(points), expected, atol=1e-12)


@pytest.mark.parametrize("step", [1, 3, 8, 100])
def test_chunks_move_nothing(step, monkeypatch):
    points = np.random.default_rng(0).normal(size=(50, 4))
    expected = mean_cosine(points)
    monkeypatch.setattr(density, "_CHUNK", 4 * step)
    np.testing.assert_allclose(mean_cosine(points), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("step", [1, 3, 8])
def test_copies_of_a_point_have_one_similarity(step, monkeypatch):
    monkeypatch.setattr(density, "_CHUNK", 5 * step)
    points = np.repeat(np.random.default_rng(0).normal(size=(9, 5)), 7, axis=0)
    values = mean_cosine(points).reshape(9, 7)
    assert (values == values[:, :1]).all()


@pytest.mark.parametrize("scale", [1e300, 1e-300, 5e-324 * 2**20, 3.0])
def test_lengths_play_no_role(scale):
    points = np.random.default_rng(0).integers(-9, 9, size=(20, 3)).astype(float)
    points[0] = 0
    np.testing.assert_allclose(mean_cosine(points * scale), mean_cosine(points), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_gives_float64(dtype):
    points = torch.tensor([[3.0, 4.0], [4.0, -3.0], [0.0, 0.0], [-3.0, -4.0]], dtype=dtype)
    values = mean_cosine(points)
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values, [0, 0.25, 0, 0], atol=1e-15)


def test_what_is_no_point_is_refused():
    points = np.zeros((20, 2))
    points[[3, 11], 1] = np.nan, np.inf
    with pytest.raises(ValueError, match="got 2 bad rows of 20: 3, 11"):
        mean_cosine(points)
    for shape in [(3,), (3, 0), (3, 2, 2)]:
        with pytest.raises(ValueError, match="expected embeddings"):
            mean_cosine(np.zeros(shape))
