"""Distances to many centers: sums that depend on the row alone, a filter that is never wrong."""

from __future__ import annotations

import math
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from alframe.functional import distances, nearest, passes
from alframe.functional.distances import Distances
from alframe.functional.nearest import nearest_center

RAGGED = (
    np.random.default_rng(0).normal(size=(700, 5000)) * 10.0 ** np.arange(-8, 8).repeat(313)[:5000]
)


@pytest.mark.parametrize("way", [passes.row_sums, passes.halved])
@pytest.mark.parametrize("d", [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 100, 257, 1000])
def test_a_row_has_the_same_sum_among_any_others(way, d):
    values = torch.from_numpy(RAGGED[:, :d].copy())
    together = way(values.clone())
    for m in (1, 2, 3, 5, 16, 33, 500):
        for start in (0, 1, 190):
            alone = way(values[start : start + m].clone())
            assert torch.equal(alone, together[start : start + m])
    shuffled = torch.from_numpy(np.random.default_rng(1).permutation(700))
    assert torch.equal(way(values[shuffled]), together[shuffled])
    for total, row in zip(together[:20].tolist(), values[:20].tolist(), strict=True):
        size = math.fsum(map(abs, row))
        assert abs(total - math.fsum(row)) <= 1e-15 * max(1, d) * size


def test_one_long_row_has_the_same_sum_with_any_number_of_threads():
    values = torch.from_numpy(np.random.default_rng(2).normal(size=(3, 100_000)))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = passes.row_sums(values.clone())
        torch.set_num_threads(4)
        assert torch.equal(passes.row_sums(values.clone()), expected)
        assert torch.equal(passes.row_sums(values[1:2].clone()), expected[1:2])
    finally:
        torch.set_num_threads(before)


@st.composite
def clouds(draw):
    """Points, centers, and bounds around their true distances; scales meet, and part."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, k, d = draw(st.integers(1, 40)), draw(st.integers(1, 30)), draw(st.integers(1, 70))
    together = rng.normal(size=(n + k, d))
    kind = draw(st.sampled_from(["normal", "grid", "offset", "tight", "outlier", "wide", "sized"]))
    if kind == "grid":
        together = rng.integers(-2, 3, size=(n + k, d)).astype(np.float64)
    elif kind == "offset":
        together += 10.0 ** rng.integers(1, 14)
    elif kind == "tight":
        together = together[rng.integers(0, 2, n + k)] + rng.normal(size=(n + k, d)) * 1e-6
    elif kind == "outlier":
        together[0] *= 1e12
    elif kind == "wide":
        together *= 10.0 ** rng.integers(-40, 40, size=(n + k, 1))
    elif kind == "sized":
        together *= 10.0 ** draw(st.integers(-310, 300))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    with np.errstate(over="ignore"):
        smaller = together.astype(dtype)
    together = smaller if np.isfinite(smaller).all() else together
    return together[:n], together[n:], draw(st.integers(0, 2**32))


def true_squares(space, n, k):
    centers = space._exact(space.centers, torch.arange(k))
    return np.stack([space.to_one(center, space.scale).numpy() for center in centers], axis=1)


@pytest.mark.parametrize("way", ["float32", "axes", "float64"])
@given(cloud=clouds())
@settings(deadline=None, max_examples=150)
def test_no_pair_that_matters_is_ruled_out(way, cloud):
    points, centers, seed = cloud
    rng = np.random.default_rng(seed)
    (n, d), k = points.shape, len(centers)
    space = Distances(torch.from_numpy(points), torch.from_numpy(centers))
    if way == "axes":  # any will do
        axes = np.linalg.qr(rng.normal(size=(d, rng.integers(1, d + 1))))[0]
        space.filter._use(torch.float32, torch.from_numpy(axes.astype(np.float32)))
    else:
        space.filter._use(getattr(torch, way), None)
    exact = true_squares(space, n, k)
    bounds = exact[np.arange(n), rng.integers(0, k, n)] * rng.choice([1.0, 1 + 1e-15, 1e9], size=n)
    x, c = space.filter.see(space.points), space.filter.see(space.centers)
    for closest in (False, True):
        pairs = space.filter.near_pairs(torch.from_numpy(bounds), x, c, closest=closest)
        assert torch.equal(pairs, pairs.unique())
        kept = np.zeros(n * k, dtype=bool)
        kept[pairs.numpy()] = True
        matters = exact < bounds[:, None]
        if closest:
            matters &= exact == exact.min(axis=1, keepdims=True)
        assert kept.reshape(n, k)[matters].all()


@pytest.mark.parametrize("spread", [0.001, 1.0])
def test_the_filter_leaves_few_pairs_of_ordinary_points(spread):
    rng = np.random.default_rng(3)
    few = rng.normal(size=(500, 8)) @ rng.normal(size=(8, 64))
    points = (few + spread * rng.normal(size=(500, 64)) + 5).astype(np.float32)
    space = Distances(torch.from_numpy(points))
    space.filter.learn(space.points[::2])
    seen = space.filtered(np.arange(500))
    assert seen.values.shape == ((500, 8) if spread < 1 else (500, 64))
    bounds = torch.from_numpy(np.sort(cdist(points, points) ** 2, axis=1)[:, 3])
    pairs = space.filter.near_pairs(bounds, seen, seen, closest=False)
    assert 3 * 500 <= len(pairs) <= 4.1 * 500
    assert len(space.filter.near_pairs(bounds, seen, seen, closest=True)) <= 1.1 * 500


def test_a_filter_that_is_too_coarse_is_refined_step_by_step():
    rng = np.random.default_rng(8)
    points = rng.normal(size=(600, 4)) @ rng.normal(size=(4, 40))
    space = Distances(torch.from_numpy(points))
    space.filter.learn(space.points)
    for dtype, width in [(torch.float32, 4), (torch.float32, 40), (torch.float64, 40)]:
        seen = space.filtered(np.arange(3))
        assert (seen.values.dtype, seen.values.shape[1]) == (dtype, width)
        space.adapt(1, coarse=True)


def test_a_crew_has_as_many_threads_as_torch_in_each_of_which_torch_uses_one():
    values = torch.zeros(3)
    before = torch.get_num_threads()
    seen = []

    def work(item):
        seen.append((threading.get_ident(), torch.get_num_threads()))
        ready.wait()
        return item * 2

    try:
        torch.set_num_threads(3)
        ready = threading.Barrier(3, timeout=60)
        with passes.crew(values) as threads:
            assert threads.size == 3
            assert torch.get_num_threads() == 1
            assert threads.each(work, range(6)) == [0, 2, 4, 6, 8, 10]
        assert torch.get_num_threads() == 3
        assert len({ident for ident, _ in seen}) == 3
        assert {number for _, number in seen} == {1}
        with pytest.raises(KeyError), passes.crew(values) as threads:
            threads.each({0: 1}.__getitem__, range(2))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_lower_keeps_what_is_nearer_already():
    points = np.random.default_rng(4).normal(size=(60, 5))
    space = Distances(torch.from_numpy(points))
    rows, centers = np.arange(10, 50), np.array([3, 55, 7])
    before = np.random.default_rng(5).random(40) * 10
    found = before.copy()
    space.lower(found, rows, space.filtered(rows), centers)
    squares = cdist(points[rows], points[centers]) ** 2
    np.testing.assert_allclose(found, np.minimum(before, squares.min(axis=1)), rtol=1e-12)
    assert (found[squares.min(axis=1) >= before] == before[squares.min(axis=1) >= before]).all()


@pytest.mark.parametrize("tile", [(3, 2), (2048, 512)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_nearest_center_equals_a_full_table(tile, dtype, monkeypatch):
    monkeypatch.setattr(nearest, "_ROWS", tile[0])
    monkeypatch.setattr(nearest, "_CENTERS", tile[1])
    monkeypatch.setattr(distances, "_PAIRS", 5 * tile[0])
    rng = np.random.default_rng(6)
    points, centers = (rng.normal(size=(m, 6)) * 9 for m in (70, 25))
    points, centers = points.astype(dtype), centers.astype(dtype)
    found, apart = nearest_center(points, centers)
    table = cdist(points.astype(np.float64), centers.astype(np.float64))
    np.testing.assert_allclose(apart, table.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(table[np.arange(70), found], table.min(axis=1), rtol=1e-12)
    tensors = nearest_center(torch.from_numpy(points), torch.from_numpy(centers))
    assert tensors[0].tolist() == found.tolist()
    assert tensors[1].tolist() == apart.tolist()


@pytest.mark.parametrize("tile", [(3, 2), (4, 7), (2048, 512)])
def test_the_lowest_of_equally_near_centers_is_taken(tile, monkeypatch):
    monkeypatch.setattr(nearest, "_ROWS", tile[0])
    monkeypatch.setattr(nearest, "_CENTERS", tile[1])
    monkeypatch.setattr(distances, "_PAIRS", 4)
    rng = np.random.default_rng(7)
    points, centers = rng.integers(0, 3, size=(50, 2)), rng.integers(0, 3, size=(40, 2))
    found, apart = nearest_center(points, centers)
    for point, position, distance in zip(points, found, apart, strict=True):
        squares = [
            sum((Fraction(int(a)) - int(b)) ** 2 for a, b in zip(point, c, strict=True))
            for c in centers
        ]
        assert position == squares.index(min(squares))
        assert distance == math.sqrt(min(squares))


def test_nearest_center_of_huge_and_tiny_points():
    for factor in (1e300, 1e-300):
        found, apart = nearest_center(
            np.array([[1.0], [4.0]]) * factor, np.array([[5.0], [0.0]]) * factor
        )
        assert found.tolist() == [1, 0]
        np.testing.assert_allclose(apart, [factor, factor], rtol=1e-12)


def test_nearest_center_of_no_points():
    found, apart = nearest_center(np.zeros((0, 3)), np.zeros((2, 3)))
    assert found.shape == apart.shape == (0,)


@pytest.mark.parametrize("shapes", [((4,), (2, 4)), ((4, 3), (2, 4)), ((4, 3), (0, 3))])
def test_other_shapes_are_refused(shapes):
    with pytest.raises(ValueError, match="at least one center"):
        nearest_center(np.zeros(shapes[0]), np.zeros(shapes[1]))


@pytest.mark.parametrize("which", [0, 1])
def test_values_that_are_not_finite_are_refused(which):
    arrays = [np.zeros((5, 2)), np.zeros((5, 2))]
    arrays[which][3, 1] = np.nan
    with pytest.raises(ValueError, match=f"expected {['points', 'centers'][which]} .* 5: 3$"):
        nearest_center(*arrays)


def test_the_filtered_points_are_small_whatever_their_offset():
    for offset, dtype in ((1e6, np.float32), (1e15, np.float64), (1e300, np.float64)):
        points = (np.arange(12.0).reshape(4, 3) * (offset * 1e-6) + offset).astype(dtype)
        seen = Distances(torch.from_numpy(points)).filtered(np.arange(4))
        assert seen.values.dtype == torch.float32
        assert 0 < seen.base.max() < 1e4
