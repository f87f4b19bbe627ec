"""Orthogonal matching pursuit against least squares and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.linear_model import OrthogonalMatchingPursuit, Ridge

from alframe.functional.matching_pursuit import omp_match


def vectors(rows=60, width=8, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)) + 0.3


def twin(points, goal, size, ridge):
    """Picks by least squares from scratch each time, and weights by scipy's NNLS."""
    strength = ridge * (points**2).sum(axis=1).mean()
    picks, left = [], goal
    for _ in range(size):
        free = [i for i in range(len(points)) if i not in picks]
        picks.append(max(free, key=lambda i: points[i] @ left))
        model = Ridge(alpha=strength, fit_intercept=False, solver="cholesky", tol=1e-12)
        left = goal - points[picks].T @ model.fit(points[picks].T, goal).coef_
    padded = np.concatenate([points[picks].T, np.sqrt(strength) * np.eye(size)])
    return picks, nnls(padded, np.concatenate([goal, np.zeros(size)]), maxiter=10_000)[0]


@pytest.mark.parametrize("ridge", [0.01, 0.5, 10.0])
@pytest.mark.parametrize("size", [1, 5, 8, 30])
@pytest.mark.parametrize("seed", range(3))
def test_picks_and_weights_against_least_squares(ridge, size, seed):
    points = vectors(seed=seed)
    rows, weights = omp_match(points, size, ridge=ridge)
    picks, slow = twin(points, points.sum(axis=0), size, ridge)
    assert rows.tolist() == picks
    np.testing.assert_allclose(weights, slow, rtol=1e-6, atol=1e-9)


def test_against_scikit_learn_where_the_ridge_vanishes():
    """Its atoms are of length 1 and its weights of either sign: none is negative in this case."""
    rng = np.random.default_rng(3)
    points = np.abs(rng.normal(size=(40, 12)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    goal = points[[3, 17, 30]].T @ [5.0, 3.0, 2.0]
    rows, weights = omp_match(points, 3, target=goal, ridge=1e-10)
    model = OrthogonalMatchingPursuit(n_nonzero_coefs=3, fit_intercept=False).fit(points.T, goal)
    assert (model.coef_ >= -1e-12).all()
    assert sorted(rows) == np.flatnonzero(model.coef_).tolist()
    np.testing.assert_allclose(weights, model.coef_[rows], rtol=1e-6)


def test_the_weighted_sum_is_near_that_of_all():
    points = vectors(500, 10)
    rows, weights = omp_match(points, 40, ridge=1e-3)
    matched = np.linalg.norm(weights @ points[rows] - points.sum(0))
    plain = np.linalg.norm(points[:40].sum(0) * (500 / 40) - points.sum(0))
    assert matched < plain / 20


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scale_changes_nothing(scale):
    points = vectors().astype(np.float32).astype(np.float64)
    rows, weights = omp_match(points, 20)
    scaled, scaled_weights = omp_match(points * scale, 20)
    assert rows.tolist() == scaled.tolist()
    np.testing.assert_allclose(weights, scaled_weights, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_torch_in_torch_out(dtype):
    points = torch.from_numpy(vectors()).to(dtype)
    rows, weights = omp_match(points, 10)
    slow, slow_weights = omp_match(points.double().numpy(), 10)
    assert (rows.dtype, weights.dtype) == (torch.int64, torch.float64)
    assert rows.tolist() == slow.tolist()
    np.testing.assert_allclose(weights.numpy(), slow_weights, rtol=1e-9)


def test_zeros_duplicates_and_all_of_them():
    rows, weights = omp_match(np.zeros((4, 3)), 4)
    assert (rows.tolist(), weights.tolist()) == ([0, 1, 2, 3], [0.0] * 4)
    rows, weights = omp_match(np.ones((6, 2)), 6)
    assert rows.tolist() == list(range(6))
    np.testing.assert_allclose(weights, weights[0])


def test_refusals():
    points = vectors(5)
    for size in (-1, 6):
        with pytest.raises(ValueError, match=f"from 0 to 5, got {size}"):
            omp_match(points, size)
    with pytest.raises(ValueError, match="ridge above 0"):
        omp_match(points, 1, ridge=0)
    with pytest.raises(ValueError, match=r"target \[8\]"):
        omp_match(points, 1, target=np.zeros(3))
    points[[1, 3]] = np.inf
    with pytest.raises(ValueError, match=r"2 bad rows of 5: 1, 3$"):
        omp_match(points, 1)


def test_nothing_of_nothing():
    rows, weights = omp_match(np.empty((0, 3)), 0)
    assert (len(rows), rows.dtype, len(weights)) == (0, np.int64, 0)
