"""Facility location by its definition, on an explicit matrix."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist


def similarities(points, metric):
    """All similarities [n, n] by their definition."""
    points = np.asarray(points, dtype=np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        units = points / np.where(lengths > 0, lengths, 1)
        return np.maximum(units @ units.T, 0)
    reach = 2 * np.linalg.norm(points - points.mean(axis=0), axis=1).max()
    return (reach if metric == "euclidean" else reach**2) - cdist(points, points, metric)


def value(matrix, rows, weights=None):
    """f(S), by its definition."""
    covers = matrix[:, list(rows)].max(axis=1) if len(rows) else np.zeros(len(matrix))
    return covers.sum() if weights is None else weights @ covers


def twin(matrix, size, given=(), weights=None):
    """Plain greedy on the matrix: picks, the lowest of equals, and gains."""
    chosen, gains = list(given), []
    for _ in range(size):
        before = value(matrix, chosen, weights)
        gain = np.array([value(matrix, [*chosen, j], weights) for j in range(len(matrix))]) - before
        gain[chosen] = -1
        best = gain.max()
        chosen.append(int(np.flatnonzero(gain >= best - 1e-9 * max(best, 1e-3))[0]))
        gains.append(gain[chosen[-1]])
    return chosen[len(given) :], gains
