"""Facility location on graphs, its bounds, and how many points a pick stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from facility_twins import similarities, twin, value
from scipy.spatial.distance import cdist

from alframe.functional.facility_covers import DenseCover
from alframe.functional.facility_location import (
    _first_cover,
    assign_counts,
    facility_location_greedy,
)
from alframe.functional.facility_location_sparse import facility_location_sparse
from alframe.functional.similarity import PointSet, exact_products
from alframe.functional.topk import pairwise_topk

METRICS = ["cosine", "euclidean", "sqeuclidean"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6, 1e-12])
def test_bounds_are_never_below_the_gains_and_close(metric, spread):
    points = np.random.default_rng(18).normal(size=(300, 40))
    points[100:] = points[0] + points[100:] * spread
    everyone = torch.arange(300)
    with exact_products(torch.device("cpu")):
        space = PointSet(torch.from_numpy(points), metric)
        cover = DenseCover(space, _first_cover(space, everyone[:0]), None)
        bounds = torch.full((300,), torch.inf, dtype=torch.float64)
        cover.bound(bounds)
        for row in range(0, 200, 20):
            cover.add(row, bounds)
            gains = cover.gains(everyone)
            assert (bounds >= gains - 1e-12 * gains.max()).all()
            assert (bounds <= gains + 1).all()


@pytest.mark.parametrize("metric", METRICS)
def test_counts_are_of_the_most_similar_pick(metric):
    points = np.random.default_rng(13).normal(size=(200, 4))
    rows, _ = facility_location_greedy(points, 15, metric=metric)
    counts = assign_counts(points, rows, metric=metric)
    nearest = cdist(points, points[rows], metric).argmin(axis=1)
    assert counts.tolist() == np.bincount(nearest, minlength=15).tolist()
    assert counts.sum() == 200


def test_a_pick_counts_itself_even_beside_its_copy():
    points = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 0]])
    assert assign_counts(points, [2, 0, 4]).tolist() == [3, 1, 1]
    for rows in ([], [1, 1]):
        with pytest.raises(ValueError, match="at least one row and no row twice"):
            assign_counts(points, rows)


def graph(points, k):
    """Cosine similarities to the k most similar points, itself among them."""
    values, rows = pairwise_topk(points, points, k, metric="cosine")
    return rows, np.maximum(values, 0)


@pytest.mark.parametrize("k", [1, 4, 20])
@pytest.mark.parametrize("given", [(), (3, 8)])
def test_sparse_picks_equal_those_on_the_sparse_matrix(k, given):
    rng = np.random.default_rng(14)
    points, weights = rng.normal(size=(80, 4)), rng.uniform(0, 2, size=80)
    neighbors, values = graph(points, k)
    matrix = np.zeros((80, 80))
    np.put_along_axis(matrix, neighbors, values, axis=1)
    rows, gains = facility_location_sparse(neighbors, values, 40, given=given, weights=weights)
    expected_rows, expected_gains = twin(matrix, 40, given, weights)
    assert rows.tolist() == expected_rows
    np.testing.assert_allclose(gains, expected_gains, rtol=1e-8)


def test_sparse_with_all_neighbors_is_the_same():
    points = np.random.default_rng(15).normal(size=(60, 4)).astype(np.float32)
    expected_rows, expected_gains = facility_location_greedy(points, 60)
    rows, gains = facility_location_sparse(*map(torch.from_numpy, graph(points, 60)), 60)
    assert rows.tolist() == expected_rows.tolist()
    np.testing.assert_allclose(gains, expected_gains, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("k", [2, 6, 15])
@pytest.mark.parametrize("size", [1, 5, 40])
def test_sparse_misses_no_more_than_its_bound(k, size):
    points = np.random.default_rng(16).normal(size=(80, 4))
    neighbors, values = graph(points, k)
    rows, gains = facility_location_sparse(neighbors, values, size)
    matrix = similarities(points, "cosine")
    missed = value(matrix, rows) - gains.sum()
    alone = ~np.isin(neighbors, rows).any(axis=1)
    assert -1e-9 <= missed <= values[alone, -1].sum() + 1e-9
    best = value(matrix, twin(matrix, size)[0])  # at most the best there is
    assert value(matrix, rows) >= (1 - 1 / np.e) * (best - values[:, -1].sum())
    if not alone.any():
        assert abs(missed) < 1e-9


@pytest.mark.parametrize(
    ("neighbors", "values", "message"),
    [
        ([[0, 1], [1, 2]], [[1.0, 0.5], [1, 0.5]], "rows from 0 to 1, got 1 bad rows of 2: 1"),
        ([[0, 0], [1, 0]], [[1.0, 0.5], [1, 0.5]], "distinct in each row, got 1 bad rows of 2: 0"),
        ([[0, 1], [1, 0]], [[1.0, 0.5], [1, -0.5]], "0 or more, got 1 bad rows of 2: 1"),
        ([[0, 1], [1, 0]], [[1.0, 0.5], [1, np.nan]], "without NaN or infinity, got 1 bad"),
        ([[0, 1], [1, 0]], [[1.0], [1]], "as many similarities"),
        ([[0.0, 1], [1, 0]], [[1.0, 0.5], [1, 0.5]], "whole numbers"),
    ],
)
def test_what_is_no_graph_is_refused(neighbors, values, message):
    with pytest.raises(ValueError, match=message):
        facility_location_sparse(np.array(neighbors), np.array(values), 1)
