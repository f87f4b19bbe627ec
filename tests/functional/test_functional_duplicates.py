"""Similarity to earlier points of a group, directions, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

from alframe.functional.directions import cosine_to_own, unit_rows
from alframe.functional.duplicates import earlier_similarity


def cosine(one, other):
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    if 0 in lengths:
        return float(lengths[0] == lengths[1])
    return float(one @ other / lengths[0] / lengths[1])


def slow(points, groups, order):
    """The definition, by loops: the best of what came before."""
    nearest, before = {}, {}
    for i in order:
        earlier = before.setdefault(groups[i], [])
        nearest[i] = max((cosine(points[i], points[j]) for j in earlier), default=-1.0)
        earlier.append(i)
    return [nearest[i] for i in range(len(points))]


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_against_plain_loops(n, seed, lattice):
    rng = np.random.default_rng(seed)
    points = rng.integers(-1, 2, (n, 3)).astype(float) if lattice else rng.normal(size=(n, 3))
    groups, order = rng.integers(0, 4, n), rng.permutation(n)
    fast = earlier_similarity(points, groups, order)
    np.testing.assert_allclose(fast, slow(points, groups, order), atol=1e-11)
    if lattice:  # equal cosines are equal to the last bit
        assert len(np.unique(fast)) == len(np.unique(fast.round(9)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_against_scikit_learn_in_many_tiles_and_any_type(dtype):
    torch.manual_seed(0)
    points = torch.randn(2500, 4).to(dtype)
    cosines = np.tril(cosine_similarity(points.double().numpy()), -1) + np.triu(
        np.full((2500, 2500), -1.0)
    )
    fast = earlier_similarity(points, torch.zeros(2500, dtype=torch.int64), torch.arange(2500))
    assert fast.dtype == torch.float64
    np.testing.assert_allclose(fast.numpy(), cosines.max(axis=1), atol=1e-11)


def test_huge_and_tiny_values_and_zeros():
    points = np.array([[1.0, 1], [1e300, 1e300], [1e-300, 0], [0, 0], [0, 0], [-1e-320, 0]])
    fast = earlier_similarity(points, np.zeros(6, np.int64), np.arange(6))
    np.testing.assert_allclose(fast, [-1, 1, np.sqrt(0.5), 0, 1, 0], atol=1e-11)


def test_what_cannot_be_is_refused():
    points = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"3 groups and as many positions in order"):
        earlier_similarity(points, np.zeros(2, np.int64), np.arange(3))
    with pytest.raises(ValueError, match=r"embeddings \[n, d\]"):
        earlier_similarity(points[0], np.zeros(2, np.int64), np.arange(2))
    points[1] = np.nan
    for refuse in (unit_rows, lambda p: earlier_similarity(p, np.zeros(3, int), np.arange(3))):
        with pytest.raises(ValueError, match="1 bad rows of 3: 1"):
            refuse(points)
    with pytest.raises(ValueError, match=r"embeddings \[n, d\]"):
        unit_rows(points[0])


def test_directions_against_scikit_learn():
    rng = np.random.default_rng(0)
    points, centroids = rng.normal(size=(70_000, 3)), rng.normal(size=(4, 3))
    points[5] = 0
    labels = rng.integers(0, 4, len(points))
    units = unit_rows(points)
    np.testing.assert_allclose(units, normalize(points), atol=1e-15)
    own = cosine_similarity(points, centroids)[np.arange(len(points)), labels]
    np.testing.assert_allclose(cosine_to_own(points, centroids, labels), own, atol=1e-14)
    np.testing.assert_array_equal(unit_rows(points[:9] * 2.0**990), units[:9])
    np.testing.assert_allclose(unit_rows(points[:5] * 1e-305), units[:5], rtol=1e-9)
    assert unit_rows(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == torch.float32
    assert unit_rows(np.ones((0, 2))).shape == (0, 2)
    assert unit_rows(np.ones((2, 0))).shape == (2, 0)
