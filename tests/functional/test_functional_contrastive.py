"""Divergence from neighbors against plain loops and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from alframe.functional import contrastive
from alframe.functional.contrastive import neighbor_divergence


def slow(probs, neighbor_probs, neighbors):
    """The formula, term by term."""
    return [
        sum(
            sum(q * math.log(q / p) for p, q in zip(own, neighbor_probs[row], strict=True) if q)
            for row in rows
        )
        / len(rows)
        for own, rows in zip(probs, neighbors, strict=True)
    ]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_against_loops_and_scipy(step, monkeypatch):
    monkeypatch.setattr(contrastive, "_CHUNK", 5 * step)
    rng = np.random.default_rng(step)
    probs, others = rng.dirichlet(np.ones(5), 40), rng.dirichlet(np.ones(5), 12)
    others[3] = [0, 0.5, 0.5, 0, 0]
    neighbors = rng.integers(12, size=(40, 4))
    result = neighbor_divergence(probs, others, neighbors)
    np.testing.assert_allclose(result, slow(probs, others, neighbors), rtol=1e-12)
    expected = scipy.stats.entropy(others[neighbors], probs[:, None, :], axis=2).mean(axis=1)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_equal_predictions_differ_by_nothing_and_impossible_ones_by_a_finite_amount():
    probs = torch.eye(3, dtype=torch.float64)
    neighbors = torch.tensor([[0, 0], [0, 1], [0, 1]])
    same, half, whole = neighbor_divergence(probs, probs, neighbors).tolist()
    assert same == 0
    assert whole == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
    assert half == whole / 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_gives_float64(dtype):
    probs = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=dtype)
    result = neighbor_divergence(probs, probs, torch.tensor([[1], [0]]))
    assert result.dtype == torch.float64
    expected = [scipy.stats.entropy([0.25, 0.75], [0.5, 0.5]), math.log(2 / math.sqrt(3))]
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_what_cannot_be_is_refused():
    good, near = np.full((4, 2), 0.5), np.zeros((4, 1), np.int64)
    for bad in (good[:, :1], good[0], np.full((4, 3), 0.2)):
        with pytest.raises(ValueError, match="expected probabilities"):
            neighbor_divergence(bad, good, near)
    for bad in (near[:3], near[:, :0], near[0]):
        with pytest.raises(ValueError, match="expected neighbors"):
            neighbor_divergence(good, good, bad)
    for bad in (near - 1, near + 4):
        with pytest.raises(ValueError, match="expected neighbors from 0 to 3"):
            neighbor_divergence(good, good, bad)
    for value in (np.nan, -0.1):
        bad = good.copy()
        bad[2, 1] = value
        for given in ((bad, good), (good, bad)):
            with pytest.raises(ValueError, match="got 1 bad rows of 4: 2"):
                neighbor_divergence(*given, near)
