"""BAIT against a twin that builds every matrix and inverts it anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alframe.functional.fisher import bait_greedy


def case(rows=25, classes=3, width=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), rows), rng.normal(size=(rows, width))


def twin(probs, points, size, labeled=(), ridge=1.0, oversample=2.0):
    """The docstring's definition: block by block, each trace from an inverse of its own."""
    weights = probs * (1 - probs)
    blocks = np.einsum("nc,nd,ne->ncde", weights, points, points)
    fisher = blocks.mean(axis=0)
    strength = ridge * np.einsum("cdd->cd", fisher).mean()

    def trace(chosen):
        matrix = strength * np.eye(points.shape[1]) + blocks[list(chosen)].sum(axis=0)
        return sum(np.trace(np.linalg.inv(m) @ f) for m, f in zip(matrix, fisher, strict=True))

    picks, known = [], list(labeled)
    free = len(points) - len(known)
    for _ in range(min(free, round(oversample * size)) if size else 0):
        left = [i for i in range(len(points)) if i not in [*known, *picks]]
        picks.append(min(left, key=lambda i: trace([*known, *picks, i])))
    while len(picks) > size:
        ways = {i: trace([*known, *(p for p in picks if p != i)]) for i in sorted(picks)}
        picks.remove(min(ways, key=ways.get))
    return picks


@pytest.mark.parametrize("labeled", [(), (3,), (0, 7, 20)])
@pytest.mark.parametrize("oversample", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_against_inverses(labeled, oversample, seed):
    probs, points = case(seed=seed)
    rows = bait_greedy(probs, points, 8, given=labeled, oversample=oversample)
    assert rows.tolist() == twin(probs, points, 8, labeled, oversample=oversample)


@pytest.mark.parametrize("ridge", [0.01, 100.0])
def test_the_ridge_counts(ridge):
    probs, points = case(seed=5)
    rows = bait_greedy(probs, points, 6, ridge=ridge)
    assert rows.tolist() == twin(probs, points, 6, ridge=ridge)


def test_certain_rows_and_known_directions_say_nothing_new():
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    points = np.array([[0.0, 9.0], [1.0, 0.0], [1.1, 0.0], [0.0, 1.0]])
    assert bait_greedy(probs, points, 1, given=[2], oversample=1).tolist() == [3]
    assert bait_greedy(probs, points, 4, oversample=1).tolist()[-1] == 0


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scale_changes_nothing(scale):
    probs, points = case()
    rows = bait_greedy(probs, points, 10)
    assert bait_greedy(probs, points * scale, 10).tolist() == rows.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(dtype):
    probs, points = (torch.from_numpy(part).to(dtype) for part in case())
    rows = bait_greedy(probs, points, 10)
    assert rows.dtype == torch.int64
    assert rows.tolist() == bait_greedy(probs.float().numpy(), points.float().numpy(), 10).tolist()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_rows_come_back_lowest_first(value):
    probs = np.full((6, 2), 0.5)
    rows = bait_greedy(probs, np.full((6, 3), value), 6)
    assert rows.tolist() == list(range(6))


def test_refusals():
    probs, points = case(5)
    with pytest.raises(ValueError, match="from 0 to 3, got 4"):
        bait_greedy(probs, points, 4, given=[0, 1])
    with pytest.raises(ValueError, match="ridge above 0"):
        bait_greedy(probs, points, 1, ridge=0)
    with pytest.raises(ValueError, match="oversample"):
        bait_greedy(probs, points, 1, oversample=0.5)
    points[4] = np.nan
    with pytest.raises(ValueError, match=r"1 bad rows of 5: 4$"):
        bait_greedy(probs, points, 1)
